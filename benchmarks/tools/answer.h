// An answer of HTTP/1.1 as it comes in: by length, in chunks, or until the connection ends.
#pragma once
#include "common.h"

typedef struct {
    enum { HEAD, SIZED, CHUNK_SIZE, CHUNK, CHUNK_END, LAST_CHUNK } part;
    size_t left;  // of the part
    int status;   // 0 before the head has come
    char head[128];
    Buffer body;
} Answer;

static inline bool answer_ends_with_connection(const Answer *a) { return a->part == SIZED && a->left > SIZE_MAX / 2; }

static inline bool answer_read_head(Answer *a, Buffer *in) {
    char *end = in->length ? memmem(in->bytes, in->length, "\r\n\r\n", 4) : NULL;
    if (end == NULL) return false;
    *end = 0;
    snprintf(a->head, sizeof a->head, "%s", in->bytes);
    a->status = atoi(in->bytes + strlen("HTTP/1.1 "));
    char *length = strcasestr(in->bytes, "content-length:");
    a->left = length ? strtoul(length + strlen("content-length:"), NULL, 10) : SIZE_MAX;
    a->part = strcasestr(in->bytes, "transfer-encoding: chunked") ? CHUNK_SIZE : SIZED;
    buffer_drop(in, (size_t)(end + 4 - in->bytes));
    return true;
}

// Takes a line that ends a part; `number` becomes the hexadecimal number that it begins with.
static inline bool answer_read_line(Buffer *in, size_t *number) {
    char *end = in->length ? memmem(in->bytes, in->length, "\r\n", 2) : NULL;
    if (end == NULL) return false;
    *number = strtoul(in->bytes, NULL, 16);
    buffer_drop(in, (size_t)(end + 2 - in->bytes));
    return true;
}

// Moves what has come of the body from `in` to `body`; true once the answer is whole.
static inline bool answer_read(Answer *a, Buffer *in) {
    size_t nothing;
    for (;;) {
        if (a->part == HEAD && !answer_read_head(a, in)) return false;
        if (a->part == CHUNK_SIZE) {
            if (!answer_read_line(in, &a->left)) return false;
            a->part = a->left ? CHUNK : LAST_CHUNK;
        }
        if (a->part == CHUNK || a->part == SIZED) {
            size_t size = in->length < a->left ? in->length : a->left;
            if (size) {
                buffer_add(&a->body, in->bytes, size);
                buffer_drop(in, size);
            }
            a->left -= size;
            if (a->left) return false;
            if (a->part == SIZED) return true;
            a->part = CHUNK_END;
        }
        if (!answer_read_line(in, &nothing)) return false;
        if (a->part == LAST_CHUNK) return true;
        a->part = CHUNK_SIZE;
    }
}
