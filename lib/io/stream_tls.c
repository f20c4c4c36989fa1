/* lib/io/stream_tls.c - TLS of a stream over memory BIOs: no socket, no callback of OpenSSL. */
#include <assert.h>
#include <openssl/err.h>
#include <string.h>

#include "lib/io/stream_private.h"

#define RECORD_SIZE 16384 /* the largest TLS record's payload */

/* Used between a read and the hook that consumes it, and while a write is put together inside such
 * a hook: one of each per thread is enough. */
static _Thread_local uint8_t record_in[RECORD_SIZE];
static _Thread_local uint8_t record_out[RECORD_SIZE];

static void fail(struct ha_stream *stream)
{
    struct ha_err err;

    (void)ha_tls_session_error(stream->session, &err);
    ha_stream_fail(stream, &err);
}

/* Everything OpenSSL wants sent goes to libuv. */
static void flush(struct ha_stream *stream)
{
    BIO *out = SSL_get_wbio(stream->ssl);
    size_t size = BIO_ctrl_pending(out);
    struct ha_stream_write *write;
    struct ha_err err;
    int n;

    if (size == 0)
        return;
    write = ha_stream_write_new(size);
    if (write == NULL) {
        /* The records are numbered: one that is not sent ends the connection. */
        (void)ha_err_set(&err, HA_ENOMEM, "out of memory");
        ha_stream_fail(stream, &err);
        return;
    }
    n = BIO_read(out, write->data, (int)size);
    assert(n == (int)size);
    (void)n;
    ha_stream_write_send(stream, write);
}

static void handshake(struct ha_stream *stream)
{
    struct ha_err err = {.code = HA_OK};
    int rv;

    ERR_clear_error();
    rv = SSL_do_handshake(stream->ssl);
    flush(stream);
    if (stream->state != HA_STREAM_HANDSHAKE)
        return;
    if (rv != 1) {
        if (SSL_get_error(stream->ssl, rv) != SSL_ERROR_WANT_READ)
            fail(stream);
        return;
    }
    if (ha_tls_session_check(stream->session, stream->ssl, &err) != HA_OK)
        ha_stream_fail(stream, &err);
    else
        ha_stream_opened(stream);
}

static void read_end(struct ha_stream *stream, int rv)
{
    struct ha_err err;

    switch (SSL_get_error(stream->ssl, rv)) {
    case SSL_ERROR_WANT_READ:
        break;
    case SSL_ERROR_ZERO_RETURN:
        (void)ha_err_set(&err, HA_ECLOSED, "closed by the other side");
        ha_stream_fail(stream, &err);
        break;
    default:
        fail(stream);
    }
}

void ha_stream_tls_pump(struct ha_stream *stream)
{
    if (stream->state == HA_STREAM_HANDSHAKE)
        handshake(stream);
    while (stream->state == HA_STREAM_OPEN && !stream->paused) {
        int n;

        ERR_clear_error();
        n = SSL_read(stream->ssl, record_in, sizeof(record_in));
        if (n <= 0) {
            read_end(stream, n);
            break;
        }
        if (stream->hooks->on_data != NULL)
            stream->hooks->on_data(stream->ctx, stream, record_in, (size_t)n);
    }
    /* Key updates and alerts. */
    if (stream->state != HA_STREAM_CLOSING)
        flush(stream);
}

void ha_stream_tls_input(struct ha_stream *stream, const uint8_t *data, size_t size)
{
    struct ha_err err;

    if (BIO_write(SSL_get_rbio(stream->ssl), data, (int)size) != (int)size) {
        (void)ha_err_set(&err, HA_ENOMEM, "out of memory");
        ha_stream_fail(stream, &err);
        return;
    }
    ha_stream_tls_pump(stream);
}

static bool encrypt(struct ha_stream *stream, const uint8_t *data, size_t size)
{
    ERR_clear_error();
    return size == 0 || SSL_write(stream->ssl, data, (int)size) == (int)size;
}

/* Small slices share a record. */
int ha_stream_tls_write(struct ha_stream *stream, const struct ha_slice *slices, unsigned count)
{
    size_t filled = 0;
    bool ok = true;

    for (unsigned i = 0; i < count && ok; i++) {
        const uint8_t *from = slices[i].data;
        size_t left = slices[i].size;

        while (left > 0 && ok) {
            size_t n = left < RECORD_SIZE - filled ? left : RECORD_SIZE - filled;

            memcpy(record_out + filled, from, n);
            filled += n;
            from += n;
            left -= n;
            if (filled == RECORD_SIZE) {
                ok = encrypt(stream, record_out, filled);
                filled = 0;
            }
        }
    }
    ok = ok && encrypt(stream, record_out, filled);
    if (!ok) {
        fail(stream);
        return HA_ECLOSED;
    }
    flush(stream);
    return stream->state == HA_STREAM_OPEN ? HA_OK : HA_ECLOSED;
}

void ha_stream_tls_goodbye(struct ha_stream *stream)
{
    ERR_clear_error();
    (void)SSL_shutdown(stream->ssl); /* 0: sent, the peer's is not waited for */
    flush(stream);
}
