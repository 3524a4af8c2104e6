// pickle: reads the pickles that torch.save makes of state dicts, as data.
//
// A pickle is a program. This reader understands only the instructions that
// build dicts, lists, tuples, texts, numbers and tensors, runs none, and knows
// the names of exactly four callables (two that rebuild tensors, OrderedDict,
// and the storage types); anything else is refused by its name. It does not
// recurse, and its memory is bounded.
//
// Format: Python's Lib/pickletools.py, protocols 2 to 5.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/err.h"
#include "worker/model/tensors.h"

enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_BYTES, // never looked into
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_DICT,
    PICKLE_CALLABLE,
    PICKLE_STORAGE,
    PICKLE_TENSOR,
};

enum pickle_callable {
    CALLABLE_REBUILD_TENSOR,
    CALLABLE_REBUILD_PARAMETER,
    CALLABLE_ORDERED_DICT,
    CALLABLE_STORAGE, // one of the storage types: `dtype` says which
};

struct pickle_value {
    enum pickle_kind kind;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *text; // UTF-8, no zero but the last
        struct {          // tuples, lists, and dicts as key, value, key, value...
            const struct pickle_value **items;
            uint32_t count, room;
        } list;
        struct {
            enum pickle_callable what;
            enum dtype dtype;
        } callable;
        struct { // a file of the archive
            enum dtype dtype;
            const char *key;
            uint64_t elements;
        } storage;
        struct { // every element within the storage
            const struct pickle_value *storage;
            uint64_t offset; // elements
            uint32_t rank;
            uint64_t shape[TENSOR_MAX_RANK], stride[TENSOR_MAX_RANK]; // elements
        } tensor;
    };
};

struct pickle;

// Read a pickle; `name` is for messages. On success the caller owns *out and
// every value in it. ERR_INPUT, ERR_NOMEM; logs one line.
ERR_CHECKED enum err pickle_parse(struct pickle **out, const char *name, const void *data,
                                  uint64_t bytes);
void pickle_free(struct pickle **p); // NULL inside is fine

const struct pickle_value *pickle_root(const struct pickle *p);

// The value of a text key in a dict; the last one set. NULL when there is none,
// or when `dict` is NULL or no dict.
const struct pickle_value *pickle_get(const struct pickle_value *dict, const char *key);
