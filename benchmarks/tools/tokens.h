// The text of a reply, the same for whoever writes it and whoever checks it.
//
// Token k is the last 12 bits of k as "%03x ". Every tenth is a stamp instead: "<t=EMITTED>", in microseconds; the
// first also says when the model had the whole request: "<t=EMITTED,REQUESTED>".
#pragma once
#include "common.h"

enum { STAMP_EVERY = 10 };

static inline int token_write(char *out, int number, int64_t requested_at) {
    if (number == 0) return sprintf(out, "<t=%lld,%lld>", (long long)now_us(), (long long)requested_at);
    if (number % STAMP_EVERY == 0) return sprintf(out, "<t=%lld>", (long long)now_us());
    return sprintf(out, "%03x ", number & 0xfff);
}

typedef struct {
    int number;  // of the token that is being read
    int length;
    char part[48];
} TokenReader;

typedef enum { TOKEN_UNFINISHED, TOKEN_PLAIN, TOKEN_STAMP, TOKEN_WRONG } TokenKind;

// Takes one character; at the end of a stamp sets what it says.
static inline TokenKind token_read(TokenReader *r, char character, int64_t *emitted_at, int64_t *requested_at) {
    r->part[r->length++] = character;
    r->part[r->length] = 0;
    if (r->number % STAMP_EVERY == 0) {
        if (character != '>') return r->length < (int)sizeof r->part - 1 ? TOKEN_UNFINISHED : TOKEN_WRONG;
        long long emitted = 0, requested = 0;
        if (sscanf(r->part, "<t=%lld,%lld>", &emitted, &requested) < 1) return TOKEN_WRONG;
        *emitted_at = emitted;
        *requested_at = requested;
    } else {
        if (r->length < 4) return TOKEN_UNFINISHED;
        char expected[8];
        snprintf(expected, sizeof expected, "%03x ", (unsigned)r->number & 0xfff);
        if (strcmp(expected, r->part) != 0) return TOKEN_WRONG;
    }
    TokenKind kind = r->number % STAMP_EVERY == 0 ? TOKEN_STAMP : TOKEN_PLAIN;
    r->number++;
    r->length = 0;
    return kind;
}
