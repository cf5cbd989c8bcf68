// Frames of RFC 6455, unfragmented and without extensions.
#pragma once
#include "common.h"

// Whoever opens a socket here sends the key of the RFC's example, whose answer is known.
#define WEBSOCKET_KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define WEBSOCKET_ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum { FRAME_TEXT = 1, FRAME_CLOSE = 8, FRAME_PING = 9, FRAME_PONG = 10 };

typedef struct {
    bool final;
    int kind;
    char *text;
    size_t length;
} Frame;

static inline void frame_write(Buffer *out, int kind, const char *text, size_t length, bool masked) {
    unsigned char head[14] = {(unsigned char)(0x80 | kind)};
    size_t size = 2;
    if (length < 126) {
        head[1] = (unsigned char)length;
    } else if (length < 65536) {
        head[1] = 126, head[2] = (unsigned char)(length >> 8), head[3] = (unsigned char)length;
        size = 4;
    } else {
        head[1] = 127;
        for (int i = 0; i < 8; i++) head[2 + i] = (unsigned char)(length >> (56 - 8 * i));
        size = 10;
    }
    if (masked) {  // with zeros, so the text stays as it is
        head[1] |= 0x80;
        size += 4;
    }
    buffer_add(out, head, size);
    buffer_add(out, text, length);
}

// Takes the frame that begins at `in->bytes + *offset`, unmasked in place, and moves the offset behind it.
static inline bool frame_read(Buffer *in, size_t *offset, Frame *frame) {
    unsigned char *head = (unsigned char *)in->bytes + *offset;
    size_t available = in->length - *offset, size = 2;
    if (available < 2) return false;
    bool masked = head[1] & 0x80;
    uint64_t length = head[1] & 127;
    if (length >= 126) {
        int digits = length == 126 ? 2 : 8;
        size += (size_t)digits;
        if (available < size) return false;
        length = 0;
        for (int i = 0; i < digits; i++) length = length << 8 | head[2 + i];
    }
    unsigned char *mask = head + size;
    if (masked) size += 4;
    if (available < size + length) return false;
    *frame = (Frame){head[0] & 0x80, head[0] & 15, (char *)head + size, length};
    for (uint64_t i = 0; masked && i < length; i++) frame->text[i] ^= (char)mask[i & 3];
    *offset += size + length;
    return true;
}
