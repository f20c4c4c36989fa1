/* tests/support/cmocka_ha.h - what every unit test includes: cmocka and a main that takes a
 * pattern.
 *
 * Inside tests print only lines that start with "# ", or the TAP parser of meson complains. */
#ifndef HA_TESTS_SUPPORT_CMOCKA_HA_H
#define HA_TESTS_SUPPORT_CMOCKA_HA_H

/* cmocka.h needs these four first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define HA_TEST_MAIN(name, tests)                                        \
    int main(int argc, char *argv[])                                     \
    {                                                                    \
        cmocka_set_message_output(CM_OUTPUT_TAP);                        \
        if (argc > 1)                                                    \
            cmocka_set_test_filter(argv[1]);                             \
        return cmocka_run_group_tests_name((name), (tests), NULL, NULL); \
    }

#endif /* HA_TESTS_SUPPORT_CMOCKA_HA_H */
