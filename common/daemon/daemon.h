// daemon: what a service owes its manager and its administrator: systemd's notifications
// (sd_notify(3), without its library), the watchdog, and settings that are read again.
#pragma once

#include "common/config/config.h"

// One or several lines `NAME=VALUE` to $NOTIFY_SOCKET; nothing without it. Does not block.
void daemon_notify(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Tells a watchdog that this process gets on: at half the time that systemd asks for, and
// `status` then goes along. To be called often, by the thread whose progress counts.
void daemon_alive(double now, void (*status)(void *user, char *out, size_t room), void *user);

// SIGHUP is counted from now on; daemon_hung_up() is true once for each.
void daemon_watch_hangup(void);
bool daemon_hung_up(void);

// A set of settings of a daemon, whatever it is made of.
struct daemon_settings {
    void *settings;
    const struct option_spec *table; // over it
    struct daemon_settings *kept;    // older ones that the ones in force may point into
};

struct daemon_reload {
    int argc;
    char **argv;
    struct daemon_settings now; // in force
    // Settings made and read, logging what is wrong; and their end.
    enum err (*read)(struct daemon_settings *out, int argc, char **argv);
    void (*finish)(struct daemon_settings *s);
    void (*apply)(void *user); // `now` has changed
    void *user;
};

// The first reading.
ERR_CHECKED enum err daemon_begin(struct daemon_reload *d);
void daemon_end(struct daemon_reload *d);

// Reads again. What may change is taken over and applied, unless this only asks; a line for
// each difference. After an error, which is logged, everything stays as it was.
ERR_CHECKED enum err daemon_reload(struct daemon_reload *d, bool only_ask,
                                   void (*line)(void *to, const char *text), void *to);

// The same for a SIGHUP, if there was one: lines go to the log, systemd is told.
void daemon_attend_hangup(struct daemon_reload *d);
