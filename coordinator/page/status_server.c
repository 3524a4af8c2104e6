#include "coordinator/page/status_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/base/log.h"
#include "coordinator/page/status_page.h"

// Against those who hold connections open or send without end.
#define MOST_CONNECTIONS 64
#define MOST_REQUEST_BYTES (16u << 10)
#define IDLE_S 10

struct status_server {
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock; // of the pointer, not of what it points to
    struct snapshot *last;
    bool loopback;
};

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool parse(const char *text, union address *out)
{
    char host[64], *end;
    const char *colon = strrchr(text, ':');
    *out = (union address){ 0 };
    errno = 0;
    const unsigned long port = colon ? strtoul(colon + 1, &end, 10) : 0;
    if (!colon || end == colon + 1 || *end || errno || port > 65535 || colon[1] == '-' ||
        (size_t) (colon - text) >= sizeof(host))
        return false;
    snprintf(host, sizeof(host), "%.*s", (int) (colon - text), text);
    const size_t n = strlen(host);
    if (host[0] == '[' && host[n - 1] == ']') {
        host[n - 1] = 0;
        out->v6.sin6_family = AF_INET6;
        out->v6.sin6_port = htons((uint16_t) port);
        return inet_pton(AF_INET6, host + 1, &out->v6.sin6_addr) == 1;
    }
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = htons((uint16_t) port);
    return inet_pton(AF_INET, strcmp(host, "localhost") != 0 ? host : "127.0.0.1",
                     &out->v4.sin_addr) == 1;
}

static bool is_loopback(const union address *a)
{
    if (a->any.sa_family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
    return ntohl(a->v4.sin_addr.s_addr) >> 24 == 127;
}

static struct snapshot *last(struct status_server *s)
{
    pthread_mutex_lock(&s->lock);
    struct snapshot *out = s->last ? snapshot_take(s->last) : NULL;
    pthread_mutex_unlock(&s->lock);
    return out;
}

void status_server_show(struct status_server *s, struct snapshot *snapshot)
{
    pthread_mutex_lock(&s->lock);
    struct snapshot *before = s->last;
    s->last = snapshot;
    pthread_mutex_unlock(&s->lock);
    snapshot_release(&before);
}

// A page of some site that has its name point here could read what it likes otherwise.
static bool is_for_us(const struct status_server *s, struct MHD_Connection *c)
{
    static const char *const ours[] = { "localhost", "127.", "[::1]" };
    const char *host = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    if (!s->loopback || !host)
        return true;
    if (!strncmp(host, ours[1], strlen(ours[1])))
        return strspn(host, "0123456789.:") == strlen(host);
    for (size_t i = 0; i < 3; i += 2) {
        const size_t n = strlen(ours[i]);
        if (!strncasecmp(host, ours[i], n) && (!host[n] || host[n] == ':'))
            return true;
    }
    return false;
}

static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, const char *type,
                             char *text, size_t bytes)
{
    struct MHD_Response *r =
        MHD_create_response_from_buffer(bytes, text, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(text);
        return MHD_NO;
    }
    MHD_add_response_header(r, "Content-Type", type);
    MHD_add_response_header(r, "Cache-Control", "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(
        r, "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, "Allow", "GET, HEAD");
    const enum MHD_Result result = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return result;
}

static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *text)
{
    char *copy = strdup(text);
    return copy ? reply(c, status, "text/plain; charset=utf-8", copy, strlen(copy)) : MHD_NO;
}

static enum MHD_Result show(struct status_server *s, struct MHD_Connection *c, const char *type,
                            void (*write)(FILE *f, const struct snapshot *s))
{
    char *text = NULL;
    size_t bytes = 0;
    struct snapshot *snapshot = last(s);
    if (!snapshot)
        return say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "not yet\n");
    FILE *f = open_memstream(&text, &bytes);
    if (f)
        write(f, snapshot);
    snapshot_release(&snapshot);
    if (!f || fclose(f) != 0) {
        free(text);
        return MHD_NO;
    }
    return reply(c, MHD_HTTP_OK, type, text, bytes);
}

// Answers before any body is read: what somebody sends beside a request is never taken.
static enum MHD_Result on_request(void *user, struct MHD_Connection *c, const char *url,
                                  const char *method, const char *version, const char *upload,
                                  size_t *upload_bytes, void **state)
{
    struct status_server *s = user;
    (void) version, (void) upload, (void) upload_bytes, (void) state;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return say(c, MHD_HTTP_METHOD_NOT_ALLOWED, "this page is for reading\n");
    if (!is_for_us(s, c))
        return say(c, MHD_HTTP_FORBIDDEN, "this is not the host you asked for\n");
    if (!strcmp(url, "/"))
        return show(s, c, "text/html; charset=utf-8", status_page_write);
    if (!strcmp(url, "/metrics"))
        return show(s, c, "text/plain; version=0.0.4; charset=utf-8", status_metrics_write);
    return say(c, MHD_HTTP_NOT_FOUND, "there are / and /metrics\n");
}

static void say_where(const struct status_server *s, const char *address)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_BIND_PORT);
    const char *colon = strrchr(address, ':');
    log_info("status page: http://%.*s:%u/ and /metrics", (int) (colon - address), address,
             info ? info->port : 0u);
    if (!s->loopback)
        log_warn("whoever reaches %s can see which films are scored", address);
}

enum err status_server_open(struct status_server **out, const char *address)
{
    union address at;
    *out = NULL;
    if (!parse(address, &at)) {
        log_error("--status %s: not ADDRESS:PORT in numbers, such as " STATUS_ADDRESS
                  " or [::1]:80",
                  address);
        return ERR_CONFIG;
    }
    struct status_server *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    pthread_mutex_init(&s->lock, NULL);
    s->loopback = is_loopback(&at);
    const unsigned v6 = at.any.sa_family == AF_INET6 ? MHD_USE_IPv6 : 0;
    s->daemon = MHD_start_daemon(MHD_USE_AUTO_INTERNAL_THREAD | v6, 0, NULL, NULL, on_request,
                                 s, MHD_OPTION_SOCK_ADDR, &at.any, MHD_OPTION_CONNECTION_LIMIT,
                                 MOST_CONNECTIONS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t) MOST_REQUEST_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
                                 (unsigned) IDLE_S, MHD_OPTION_END);
    if (!s->daemon) {
        log_error("--status %s: cannot listen: %s", address, strerror(errno));
        status_server_close(&s);
        return ERR_UNAVAILABLE;
    }
    say_where(s, address);
    *out = s;
    return ERR_OK;
}

void status_server_close(struct status_server **sp)
{
    struct status_server *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    snapshot_release(&s->last);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
