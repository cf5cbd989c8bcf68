// Walks through JSON and shows each key that has a plain value; it trusts that the text is JSON.
#pragma once
#include "common.h"

typedef struct {
    const char *at, *end;
    int depth;
} JsonWalk;

typedef struct {
    int depth;  // 1: a key of the outermost object
    const char *key, *value;  // a string's value without its quotes, its escapes as they stand
    size_t key_length, value_length;
    bool is_string;
} JsonPair;

static inline const char *json_skip_string(const char *at, const char *end) {
    while (at < end && *at != '"') at += *at == '\\' ? 2 : 1;
    return at;
}

static inline const char *json_skip_space(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\n')) at++;
    return at;
}

// Goes to the next key; of an object or array, the value is its bracket.
static inline bool json_next(JsonWalk *walk, JsonPair *pair) {
    while (walk->at < walk->end) {
        char c = *walk->at++;
        if (c == '{' || c == '[') walk->depth++;
        if (c == '}' || c == ']') walk->depth--;
        if (c != '"') continue;
        const char *key = walk->at, *key_end = json_skip_string(key, walk->end);
        const char *at = json_skip_space(key_end + 1, walk->end);
        walk->at = at;
        if (at >= walk->end || *at != ':') continue;  // a string in an array
        at = json_skip_space(at + 1, walk->end);
        if (at >= walk->end) return false;
        *pair = (JsonPair){walk->depth, key, at, (size_t)(key_end - key), 1, false};
        if (*at == '"') {
            const char *value_end = json_skip_string(at + 1, walk->end);
            pair->value = at + 1, pair->value_length = (size_t)(value_end - at - 1), pair->is_string = true;
            walk->at = value_end + 1;
        } else {
            walk->at = at;
        }
        return true;
    }
    return false;
}

static inline bool json_key_is(const JsonPair *pair, const char *key) {
    return pair->key_length == strlen(key) && memcmp(pair->key, key, pair->key_length) == 0;
}

static inline bool json_value_is(const JsonPair *pair, const char *value) {
    return pair->is_string && pair->value_length == strlen(value) && memcmp(pair->value, value, pair->value_length) == 0;
}

static inline void json_add_string(Buffer *out, const char *text) {
    buffer_add(out, "\"", 1);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') buffer_add(out, "\\", 1);
        if (*text == '\n') buffer_add(out, "\\n", 2);
        else if ((unsigned char)*text >= 32) buffer_add(out, text, 1);
    }
    buffer_add(out, "\"", 1);
}
