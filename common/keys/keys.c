#include "common/keys/keys.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#include "common/base/file.h"
#include "common/base/log.h"

#define LARGEST_FILE (16 << 20)

bool key_name_is_good(const char *name)
{
    static const char good[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const size_t n = strspn(name, good);
    return n > 0 && n < KEY_NAME_BYTES && name[n] == 0 && name[0] != '.';
}

static bool is_key(const char *text)
{
    uint8_t raw[32];
    return strlen(text) == KEY_BYTES - 1 && zmq_z85_decode(raw, text) != NULL;
}

// Reading

// One line to its three words; false: it is something else.
static bool split(const char *line, const char *kind, char name[KEY_NAME_BYTES],
                  char key[KEY_BYTES])
{
    char word[16], more;
    return sscanf(line, "%15s %63s %40s %c", word, name, key, &more) == 3 &&
           !strcmp(word, kind) && key_name_is_good(name) && is_key(key);
}

static char *read_all(int fd, size_t bytes)
{
    char *text = malloc(bytes + 1);
    size_t got = 0;
    for (ssize_t n = 1; text && got < bytes && n > 0; got += n > 0 ? (size_t) n : 0)
        n = read(fd, text + got, bytes - got);
    if (text)
        text[got] = 0;
    return text;
}

// The file's text, which the caller frees. `forbidden`: the rights that others than its
// owner may not have; `so_that` says why.
static enum err read_text(char **out, const char *path, mode_t forbidden, const char *so_that)
{
    struct stat st;
    // Never waits for the other end of a pipe.
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    *out = NULL;
    if (fd < 0 || fstat(fd, &st) < 0) {
        log_error("%s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return ERR_MISSING;
    }
    enum err e = ERR_CONFIG;
    if (!S_ISREG(st.st_mode) || st.st_size > LARGEST_FILE)
        log_error("%s: not a file of keys", path);
    else if (st.st_mode & forbidden)
        log_error("%s: %s; chmod %s will do", path, so_that, forbidden & 0044 ? "600" : "go-w");
    else
        e = (*out = read_all(fd, (size_t) st.st_size)) ? ERR_OK : ERR_NOMEM;
    close(fd);
    return e;
}

static char *next_line(char **rest)
{
    char *line = strsep(rest, "\n");
    while (line && (*line == '#' || line[strspn(line, " \t\r")] == 0))
        line = strsep(rest, "\n");
    return line;
}

enum err key_pair_read(struct key_pair *out, const char *path)
{
    char *text, *rest;
    *out = (struct key_pair){ 0 };
    enum err e =
        read_text(&text, path, 0077, "others can read this secret key, so it is not used");
    if (e)
        return e;
    rest = text;
    const char *line = next_line(&rest);
    if (!line || !split(line, "secret", out->name, out->secret_half) || next_line(&rest) ||
        zmq_curve_public(out->public_half, out->secret_half) != 0) {
        log_error("%s: not a secret key, as `underscore key gen` writes it", path);
        key_pair_forget(out);
        e = ERR_CONFIG;
    }
    explicit_bzero(text, strlen(text));
    free(text);
    return e;
}

void key_pair_forget(struct key_pair *k)
{
    explicit_bzero(k, sizeof(*k));
}

static enum err append(struct key_list *l, const struct key_entry *entry)
{
    if (l->count == l->room) {
        const size_t room = l->room ? 2 * l->room : 16;
        struct key_entry *more = realloc(l->entries, room * sizeof(*more));
        if (!more)
            return ERR_NOMEM;
        l->entries = more;
        l->room = room;
    }
    l->entries[l->count++] = *entry;
    return ERR_OK;
}

// What is wrong with an entry, or NULL.
static const char *take_line(struct key_entry *out, const struct key_list *before,
                             const char *line)
{
    *out = (struct key_entry){ 0 };
    if (!split(line, "allow", out->name, out->public_half)) {
        if (!split(line, "revoked", out->name, out->public_half))
            return "neither `allow NAME KEY` nor `revoked NAME KEY`";
        out->revoked = true;
    }
    if (key_list_find(before, out->public_half))
        return "a key that is in the list already";
    if (!out->revoked && key_list_named(before, out->name))
        return "a name that has a key already";
    return NULL;
}

static int line_number(const char *text, const char *at)
{
    int n = 1;
    for (const char *p = text; p < at; p++)
        n += *p == '\n' || *p == 0; // strsep() has put zeros
    return n;
}

enum err key_list_read(struct key_list *out, const char *path)
{
    char *text, *rest;
    struct key_entry entry;
    *out = (struct key_list){ 0 };
    enum err e = read_text(&text, path, 0022,
                           "others may write to this list of keys, so it is not used");
    if (e)
        return e;
    rest = text;
    for (const char *line; !e && (line = next_line(&rest));) {
        const char *wrong = take_line(&entry, out, line);
        if (wrong)
            log_error("%s:%d: %s", path, line_number(text, line), wrong);
        e = wrong ? ERR_CONFIG : append(out, &entry);
    }
    free(text);
    if (e)
        key_list_finish(out);
    return e;
}

void key_list_finish(struct key_list *l)
{
    free(l->entries);
    *l = (struct key_list){ 0 };
}

enum err key_public_read(struct key_entry *out, const char *path)
{
    struct key_list l;
    enum err e = key_list_read(&l, path);
    if (!e && (l.count != 1 || l.entries[0].revoked)) {
        log_error("%s: not a public key, as `underscore key gen` writes it", path);
        e = ERR_CONFIG;
    }
    if (!e)
        *out = l.entries[0];
    key_list_finish(&l);
    return e;
}

const struct key_entry *key_list_find(const struct key_list *l, const char *public_half)
{
    for (size_t i = 0; i < l->count; i++)
        if (!strcmp(l->entries[i].public_half, public_half))
            return &l->entries[i];
    return NULL;
}

const struct key_entry *key_list_named(const struct key_list *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (!l->entries[i].revoked && !strcmp(l->entries[i].name, name))
            return &l->entries[i];
    return NULL;
}

// Writing

static enum err write_entries(const char *path, const struct key_list *l)
{
    struct out_file f;
    const enum err e = out_file_open(&f, path);
    if (e)
        return e;
    fchmod(fileno(f.stream), 0644); // public halves: the daemon may be another user
    for (size_t i = 0; i < l->count; i++)
        fprintf(f.stream, "%s %s %s\n", l->entries[i].revoked ? "revoked" : "allow",
                l->entries[i].name, l->entries[i].public_half);
    return out_file_commit(&f);
}

static enum err write_secret(const char *path, const struct key_pair *k)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        log_error("%s: cannot create: %s", path, strerror(errno));
        return ERR_CREATE;
    }
    const bool written =
        dprintf(fd, "secret %s %s\n", k->name, k->secret_half) > 0 && fsync(fd) == 0;
    close(fd);
    if (written)
        return ERR_OK;
    log_error("%s: cannot write: %s", path, strerror(errno));
    unlink(path);
    return ERR_IO;
}

static enum err write_public(const char *path, const struct key_pair *k)
{
    struct key_entry entry = { 0 };
    const struct key_list one = { .entries = &entry, .count = 1 };
    snprintf(entry.name, sizeof(entry.name), "%s", k->name);
    memcpy(entry.public_half, k->public_half, KEY_BYTES);
    if (access(path, F_OK) != 0)
        return write_entries(path, &one);
    log_error("%s: exists already", path);
    return ERR_CREATE;
}

enum err key_generate(const char *folder, const char *name)
{
    struct key_pair k = { 0 };
    char *secret = NULL, *public = NULL;
    if (!key_name_is_good(name)) {
        log_error("%s: not a name for a key: letters, digits, '.', '_' and '-', at most %d",
                  name, KEY_NAME_BYTES - 1);
        return ERR_USAGE;
    }
    if (zmq_curve_keypair(k.public_half, k.secret_half) != 0) {
        log_error("this libzmq knows no CURVE: %s", zmq_strerror(zmq_errno()));
        return ERR_UNAVAILABLE;
    }
    snprintf(k.name, sizeof(k.name), "%s", name);
    enum err e = ERR_OK;
    if (asprintf(&secret, "%s/%s.key", folder, name) < 0)
        secret = NULL;
    if (asprintf(&public, "%s/%s.pub", folder, name) < 0)
    public = NULL;
    if (!secret || !public)
        e = ERR_NOMEM;
    if (!e)
        e = write_secret(secret, &k);
    if (!e && (e = write_public(public, &k)))
        unlink(secret);
    key_pair_forget(&k);
    free(secret);
    free(public);
    return e;
}

// Changing a list: one at a time, which the lock of its folder sees to.

static int lock_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t) (slash - path) + 1) : strdup(".");
    const int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd < 0)
        log_error("%s: %s", folder ? folder : path, strerror(errno));
    else
        flock(fd, LOCK_EX);
    free(folder);
    return fd;
}

// Adds what is not there yet. ERR_USAGE: it cannot be, logged.
static enum err add_to(struct key_list *l, const struct key_entry *key)
{
    const struct key_entry *same = key_list_find(l, key->public_half),
                           *named = key_list_named(l, key->name);
    if (same && !same->revoked && same == named)
        return ERR_OK;
    if (!same && !named)
        return append(l, key);
    if (same && same->revoked)
        log_error("this key of %s was revoked; make another with `underscore key gen`",
                  same->name);
    else if (same)
        log_error("this key is there already, as %s", same->name);
    else
        log_error("%s has another key; revoke that first", key->name);
    return ERR_USAGE;
}

static enum err revoke_in(struct key_list *l, const char *name)
{
    const struct key_entry *named = key_list_named(l, name);
    if (!named) {
        log_error("no key of %s is allowed", name);
        return ERR_USAGE;
    }
    l->entries[named - l->entries].revoked = true;
    return ERR_OK;
}

static enum err change(const char *path, const struct key_entry *add, const char *revoke)
{
    struct key_list l = { 0 };
    const int lock = lock_folder_of(path);
    if (lock < 0)
        return ERR_MISSING;
    const bool is_new = add && access(path, F_OK) != 0 && errno == ENOENT;
    enum err e = is_new ? ERR_OK : key_list_read(&l, path);
    if (!e)
        e = add ? add_to(&l, add) : revoke_in(&l, revoke);
    if (!e)
        e = write_entries(path, &l);
    key_list_finish(&l);
    close(lock);
    return e;
}

enum err key_list_add(const char *path, const struct key_entry *key)
{
    return change(path, key, NULL);
}

enum err key_list_revoke(const char *path, const char *name)
{
    return change(path, NULL, name);
}
