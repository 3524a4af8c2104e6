// keys: the CURVE key pair of a node, and the list of those that a coordinator lets in.
//
// Three kinds of files, a line a key, `#` before a remark, keys in Z85 as ZeroMQ writes
// them:
//
//     NAME.key   `secret NAME KEY`     for its node's eyes only
//     NAME.pub   `allow NAME KEY`      what others may know: the public half
//     a list     `allow NAME KEY` or `revoked NAME KEY`: public halves
//
// so that a .pub file is a list of one. A list is replaced as a whole, never written
// into: whoever reads it sees it before a change or after. Any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/err.h"

#define KEY_BYTES 41 // 40 characters, and the closing zero
#define KEY_NAME_BYTES 64

struct key_pair {
    char name[KEY_NAME_BYTES]; // of the node
    char public_half[KEY_BYTES], secret_half[KEY_BYTES];
};

struct key_entry {
    char name[KEY_NAME_BYTES];
    char public_half[KEY_BYTES];
    bool revoked;
};

struct key_list {
    struct key_entry *entries; // in the order of the file
    size_t count, room;
};

// Letters, digits, '.', '_' and '-', not '.' first: it becomes a part of a file's name.
bool key_name_is_good(const char *name);

// Makes a pair and writes FOLDER/NAME.key, mode 0600, and FOLDER/NAME.pub. ERR_CREATE:
// one of them is there already. ERR_USAGE: no good name. All logged.
ERR_CHECKED enum err key_generate(const char *folder, const char *name);

// The pair in a .key file. ERR_MISSING: it cannot be read. ERR_CONFIG: it is no such
// file, or others than its owner can read it. Logged. key_pair_forget() when it is used.
ERR_CHECKED enum err key_pair_read(struct key_pair *out, const char *path);
void key_pair_forget(struct key_pair *k);

// The one key of a .pub file. Errors as above.
ERR_CHECKED enum err key_public_read(struct key_entry *out, const char *path);

// A whole list. ERR_MISSING: it cannot be read. ERR_CONFIG: a line that is no entry, a
// key or an allowed name twice, or others than its owner may write to it. Logged with the
// line; *out is zeroed then. key_list_finish() takes a zeroed list, too.
ERR_CHECKED enum err key_list_read(struct key_list *out, const char *path);
void key_list_finish(struct key_list *l);

// NULL: no such key; no such name that is allowed.
const struct key_entry *key_list_find(const struct key_list *l, const char *public_half);
const struct key_entry *key_list_named(const struct key_list *l, const char *name);

// Changes to the file of a list, which appears with its first key. Adding what is allowed
// already does nothing. ERR_USAGE: the name has another key, the key is revoked or
// another's, or there is no such name to revoke. Logged, as is whatever is wrong with the
// file. A revoked key stays in the list, so that it is never taken up again.
ERR_CHECKED enum err key_list_add(const char *path, const struct key_entry *key);
ERR_CHECKED enum err key_list_revoke(const char *path, const char *name);
