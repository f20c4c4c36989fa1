/* tests/fuzz/stub_stream.h - a stream without a network: bytes come from the fuzzer, what is
 * written is counted. Stands in for lib/io/stream in a target that is linked with it. */
#ifndef HA_TESTS_FUZZ_STUB_STREAM_H
#define HA_TESTS_FUZZ_STUB_STREAM_H

#include "lib/io/stream_private.h"

/* The one that ha_stream_connect gives, or stub_stream_open. Closed: closing is over at once. */
extern struct ha_stream stub_stream;
extern bool stub_stream_is_open;
extern size_t stub_stream_written;

/* As if accepted. */
struct ha_stream *stub_stream_open(void);
/* Tell the owner: it is open; these bytes came; it has ended. Nothing of that once it is closed. */
void stub_stream_opened(void);
void stub_stream_feed(const uint8_t *data, size_t size);
void stub_stream_end(int code);

#endif /* HA_TESTS_FUZZ_STUB_STREAM_H */
