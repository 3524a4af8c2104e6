// media_hooks: how long work on a film is watched and stopped. A zeroed one
// watches nothing; a NULL pointer to one does too.
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct media_hooks {
    // Asked several times a second; true ends the work with ERR_STOP.
    bool (*cancelled)(void *user);
    // Another piece of work begins; the word says which, "measuring" say, and is static.
    void (*begin)(void *user, const char *what);
    // How far the work is, in milliseconds of film. Called from the working
    // thread, `done` never falling within one piece of work.
    void (*progress)(void *user, int64_t done_ms, int64_t total_ms);
    void *user;
};

bool media_cancelled(const struct media_hooks *hooks);
void media_begin(const struct media_hooks *hooks, const char *what);
void media_progress(const struct media_hooks *hooks, int64_t done_ms, int64_t total_ms);
