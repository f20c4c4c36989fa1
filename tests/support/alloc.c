#include "tests/support/alloc.h"

#include <jansson.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned fail_at; /* 0: never */
static unsigned seen;
static bool failed;
static pthread_t thread;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *data, size_t size);
char *__real_strdup(const char *text);
FILE *__real_open_memstream(char **text, size_t *size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *data, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_asprintf(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
FILE *__wrap_open_memstream(char **text, size_t *size);

void alloc_fail_at(unsigned n)
{
    thread = pthread_self();
    seen = 0;
    failed = false;
    fail_at = n;
}

bool alloc_stop(void)
{
    fail_at = 0;
    return failed;
}

static bool fails(void)
{
    if (fail_at == 0 || !pthread_equal(thread, pthread_self()) || ++seen != fail_at)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *data, size_t size)
{
    return fails() ? NULL : __real_realloc(data, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

int __wrap_asprintf(char **text, const char *format, ...)
{
    va_list args;
    int size;

    if (fails())
        return -1;
    va_start(args, format);
    size = vasprintf(text, format, args);
    va_end(args);
    return size;
}

FILE *__wrap_open_memstream(char **text, size_t *size)
{
    return fails() ? NULL : __real_open_memstream(text, size);
}

void alloc_of_jansson(void)
{
    json_set_alloc_funcs(__wrap_malloc, free);
}
