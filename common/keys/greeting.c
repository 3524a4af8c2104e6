#include "common/keys/greeting.h"

#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/clock.h"

#define PATIENCE_S 1.0
#define SIGNATURE_BYTES 10
#define MECHANISM_AT 12
#define MECHANISM_BYTES (GREETING_MECHANISM_BYTES - 1)

static int connect_tcp(const char *rest)
{
    char host[256];
    const char *colon = strrchr(rest, ':');
    struct addrinfo *found = NULL;
    if (!colon)
        return -1;
    const bool bracketed = rest[0] == '[' && colon > rest + 1 && colon[-1] == ']';
    snprintf(host, sizeof(host), "%.*s", (int) (colon - rest) - 2 * bracketed,
             rest + bracketed);
    if (getaddrinfo(host, colon + 1, &(struct addrinfo){ .ai_socktype = SOCK_STREAM },
                    &found) != 0)
        return -1;
    int fd = -1;
    for (const struct addrinfo *a = found; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        const struct timeval patience = { .tv_sec = 1 }; // of connect(), too
        if (fd >= 0)
            setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
        if (fd >= 0 && connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(found);
    return fd;
}

static int connect_ipc(const char *path)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(to.sun_path))
        return -1;
    memcpy(to.sun_path, path, strlen(path));
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *) &to, sizeof(to)) == 0)
        return fd;
    close(fd);
    return -1;
}

static bool read_all(int fd, uint8_t *out, size_t bytes)
{
    const double until = clock_seconds() + PATIENCE_S;
    size_t got = 0;
    while (got < bytes && clock_seconds() < until) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        if (poll(&p, 1, 100) <= 0)
            continue;
        const ssize_t n = read(fd, out + got, bytes - got);
        if (n <= 0)
            return false;
        got += (size_t) n;
    }
    return got == bytes;
}

// Only the version is said of this side: the other then says all of its own.
bool greeting_mechanism(char out[GREETING_MECHANISM_BYTES], const char *address)
{
    static const uint8_t ours[MECHANISM_AT] = { 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 1 };
    uint8_t theirs[MECHANISM_AT + MECHANISM_BYTES];
    const int fd = !strncmp(address, "tcp://", 6)   ? connect_tcp(address + 6)
                   : !strncmp(address, "ipc://", 6) ? connect_ipc(address + 6)
                                                    : -1;
    out[0] = 0;
    if (fd < 0)
        return false;
    const bool heard = send(fd, ours, sizeof(ours), MSG_NOSIGNAL) == (ssize_t) sizeof(ours) &&
                       read_all(fd, theirs, sizeof(theirs)) && theirs[0] == 0xff &&
                       theirs[SIGNATURE_BYTES - 1] == 0x7f && theirs[SIGNATURE_BYTES] >= 3;
    close(fd);
    snprintf(out, GREETING_MECHANISM_BYTES, "%.*s", MECHANISM_BYTES,
             heard ? (const char *) theirs + MECHANISM_AT : "");
    return heard;
}
