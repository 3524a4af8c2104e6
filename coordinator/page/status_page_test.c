// Tests of the status page: what it shows is escaped, and who may ask for it.
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files_fixture.h"
#include "coordinator/page/status_page.h"
#include "coordinator/page/status_server.h"

#define HOSTILE "/films/<script>alert(1)</script>\"'&\xff\x1b[2J.mkv"

static struct snapshot *example(void)
{
    struct snapshot *s = snapshot_create();
    assert_non_null(s);
    s->jobs = calloc(2, sizeof(*s->jobs));
    s->nodes = calloc(1, sizeof(*s->nodes));
    s->work = calloc(1, sizeof(*s->work));
    s->failures = calloc(1, sizeof(*s->failures));
    s->job_count = 2;
    s->node_count = s->work_count = s->failure_count = 1;
    s->jobs[0] = (struct shown_job){ .id = 7,
                                     .film = strdup(HOSTILE),
                                     .state = "RUNNING",
                                     .owner = "<b>ada",
                                     .segments = 3,
                                     .done = 1,
                                     .running = 1,
                                     .duration_ms = 9000,
                                     .left_ms = 61000,
                                     .timeline_count = 3 };
    s->jobs[0].timeline = calloc(3, sizeof(*s->jobs[0].timeline));
    s->jobs[0].timeline[0] = (struct shown_segment){ 0, 3000, 0, SHOWN_DONE };
    s->jobs[0].timeline[1] = (struct shown_segment){ 3000, 6000, 0, SHOWN_RUNS };
    s->jobs[0].timeline[2] = (struct shown_segment){ 6000, 9000, 1, SHOWN_WAITS };
    s->jobs[1] = (struct shown_job){ .id = 6,
                                     .film = strdup("b.mkv"),
                                     .state = "FAILED",
                                     .owner = "bob",
                                     .ended_ms = 1000,
                                     .left_ms = -1,
                                     .failed = true,
                                     .reason = "<i>no film" };
    s->nodes[0] = (struct shown_node){ .name = "n\"\\\n<0",
                                       .device = "<GPU>",
                                       .state = "READY",
                                       .here = true,
                                       .rate = 1.5 };
    s->work[0] = (struct shown_work){ 0, 7, 5000, 1, 0 };
    s->failures[0] = (struct shown_failure){ .job = 7,
                                             .worker = "<w>",
                                             .outcome = "oom",
                                             .detail = "<last>\nwords" };
    s->jobs_in[0] = (struct shown_count){ "RUNNING", 1 };
    s->attempts[0] = (struct shown_count){ "accepted", 4 };
    s->stopped = true;
    s->minutes[SNAPSHOT_MINUTES - 1] = 30;
    return s;
}

static char *written(void (*write)(FILE *f, const struct snapshot *s), const struct snapshot *s)
{
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    write(f, s);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(strlen(text), bytes);
    return text;
}

static void names_stay_text(void **state)
{
    (void) state;
    struct snapshot *s = example();
    char *page = written(status_page_write, s);
    static const char *const never[] = { "<script", "<b>ada", "<i>no", "<GPU>", "<w>",
                                         "<last>",  "\x1b",   "\xff",  "n\"\\" };
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]); i++)
        assert_null(strstr(page, never[i]));
    static const char *const always[] = { "script&gt;&quot;&#39;&amp;\ufffd\ufffd[2J.mkv",
                                          "&lt;b&gt;ada",
                                          "about 1:01 left",
                                          "&lt;i&gt;no film",
                                          "The queue is stopped",
                                          "class=\"s2\" x=\"0\" y=\"4\" width=\"3000\"",
                                          "segment 1 is being composed",
                                          "&lt;last&gt;\nwords",
                                          "content=\"5\"" };
    for (size_t i = 0; i < sizeof(always) / sizeof(always[0]); i++)
        if (!strstr(page, always[i]))
            fail_msg("not in the page: %s", always[i]);
    free(page);
    snapshot_release(&s);
}

static void figures_are_as_prometheus_reads_them(void **state)
{
    (void) state;
    struct snapshot *s = example();
    char *text = written(status_metrics_write, s);
    assert_non_null(strstr(
        text,
        "\n# TYPE underscore_worker_rate gauge\nunderscore_worker_rate{worker=\"n\\\"\\\\\\n<0\"} 1.5\n"));
    assert_non_null(strstr(text, "\nunderscore_attempts_total{outcome=\"accepted\"} 4\n"));
    assert_non_null(strstr(text, "\nunderscore_queue_stopped 1\n"));
    // Every sample belongs to the family above it, which has HELP and TYPE.
    char name[128] = "";
    unsigned samples = 0;
    for (char *save, *line = strtok_r(text, "\n", &save); line;
         line = strtok_r(NULL, "\n", &save)) {
        char first[128];
        if (sscanf(line, "# HELP %127s", first) == 1) {
            snprintf(name, sizeof(name), "%.*s", 127, first);
            continue;
        }
        if (sscanf(line, "# TYPE %127s", first) == 1) {
            assert_string_equal(first, name);
            continue;
        }
        assert_true(strncmp(line, name, strlen(name)) == 0 && strchr(" {", line[strlen(name)]));
        samples++;
    }
    assert_true(samples > 20);
    free(text);
    snapshot_release(&s);
}

static void nothing_is_shown_of_nothing(void **state)
{
    (void) state;
    struct snapshot *s = snapshot_create();
    char *page = written(status_page_write, s), *text = written(status_metrics_write, s);
    assert_non_null(strstr(page, "Nothing is to be done"));
    assert_non_null(strstr(text, "underscore_build_info"));
    free(page), free(text);
    snapshot_release(&s);
    assert_null(s);
}

static struct status_server *serving(uint16_t *port)
{
    struct status_server *s = NULL;
    const int kept = silence_stderr();
    *port = 0;
    for (int tries = 0; !s && tries < 50; tries++) { // one that is free
        char address[32];
        *port = (uint16_t) (20000 + (getpid() * 53 + tries * 97) % 30000);
        snprintf(address, sizeof(address), "127.0.0.1:%u", *port);
        if (status_server_open(&s, address))
            s = NULL;
    }
    restore_stderr(kept);
    assert_non_null(s);
    return s;
}

// The whole answer to a request, which may be long; "" when there is none.
static char *answer(uint16_t port, const char *request, size_t bytes)
{
    const struct sockaddr_in at = { .sin_family = AF_INET,
                                    .sin_port = htons(port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char *out = calloc(1, 1 << 20);
    size_t n = 0;
    assert_non_null(out);
    assert_int_equal(connect(fd, (const struct sockaddr *) &at, sizeof(at)), 0);
    for (ssize_t sent; bytes && (sent = send(fd, request, bytes, MSG_NOSIGNAL)) > 0;
         request += sent)
        bytes -= (size_t) sent;
    shutdown(fd, SHUT_WR);
    for (ssize_t got; n < (1 << 20) - 1 && (got = recv(fd, out + n, (1 << 20) - 1 - n, 0)) > 0;)
        n += (size_t) got;
    close(fd);
    return out;
}

static void assert_answer(uint16_t port, const char *request, const char *status,
                          const char *has, const char *has_not)
{
    char *a = answer(port, request, strlen(request));
    if (strncmp(a, "HTTP/1.1 ", 9) != 0 || strncmp(a + 9, status, 3) != 0)
        fail_msg("%s was answered by %.300s", request, a);
    assert_true(!has || strstr(a, has));
    assert_true(!has_not || !strstr(a, has_not));
    free(a);
}

static void it_is_for_reading(void **state)
{
    (void) state;
    uint16_t port;
    struct status_server *s = serving(&port);
    assert_answer(port, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", "503",
                  NULL, NULL);
    status_server_show(s, snapshot_create());
    status_server_show(s, example());
    const char *const good[] = { "localhost", "localhost:7482", "127.0.0.1", "127.0.0.1:80",
                                 "[::1]:7482" };
    char request[256];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        snprintf(request, sizeof(request),
                 "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", good[i]);
        assert_answer(port, request, "200", "frame-ancestors 'none'", "<script");
    }
    const char *const bad[] = { "evil.example", "localhost.evil.example",
                                "127.0.0.1.evil.example", "10.0.0.1", "[::2]" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) { // a name that points here
        snprintf(request, sizeof(request),
                 "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", bad[i]);
        assert_answer(port, request, "403", NULL, "films");
    }
    assert_answer(port, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                  "200", "version=0.0.4", NULL);
    assert_answer(port, "HEAD / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                  "200", "Content-Length: ", "<h1>");
    assert_answer(port,
                  "GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                  "404", NULL, NULL);
    const char *const methods[] = { "POST", "PUT", "DELETE", "OPTIONS", "PATCH" };
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        snprintf(
            request, sizeof(request),
            "%s / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
            methods[i]);
        assert_answer(port, request, "405", "Allow: GET, HEAD", "<h1>");
    }
    status_server_close(&s);
    status_server_close(&s);
}

static void nobody_is_in_the_way_of_others(void **state)
{
    (void) state;
    uint16_t port;
    struct status_server *s = serving(&port);
    status_server_show(s, example());
    // Headers without end, and things that are no HTTP.
    const size_t n = 1 << 20;
    char *flood = malloc(n);
    assert_non_null(flood);
    memset(flood, 'a', n);
    static const char begin[] = { 'G', 'E', 'T', ' ', '/', ' ',  'H',  'T', 'T',
                                  'P', '/', '1', '.', '1', '\r', '\n', 'X', ':' };
    memcpy(flood, begin, sizeof(begin));
    char *a = answer(port, flood, n);
    assert_null(strstr(a, "<h1>"));
    free(a);
    memset(flood, 0xff, n);
    a = answer(port, flood, n);
    assert_null(strstr(a, "<h1>"));
    free(a), free(flood);
    // Connections that say nothing: the rest is still served when they go.
    int idle[200], count = 0;
    const struct sockaddr_in at = { .sin_family = AF_INET,
                                    .sin_port = htons(port),
                                    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (; count < 200; count++) {
        idle[count] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void) !connect(idle[count], (const struct sockaddr *) &at, sizeof(at));
    }
    while (count)
        close(idle[--count]);
    for (int i = 0; i < 100; i++)
        assert_answer(port, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                      "200", "<h1>", NULL);
    status_server_close(&s);
}

static void where_it_cannot_be(void **state)
{
    (void) state;
    struct status_server *s;
    const char *const bad[] = { "",
                                "7482",
                                "127.0.0.1",
                                "127.0.0.1:",
                                "127.0.0.1:x",
                                "127.0.0.1:-1",
                                "127.0.0.1:70000",
                                "example.org:80",
                                "[::1:80",
                                "::1:80:",
                                "127.0.0.1:80 " };
    const int kept = silence_stderr();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(status_server_open(&s, bad[i]), ERR_CONFIG);
    restore_stderr(kept);
    uint16_t port;
    char address[32];
    struct status_server *other = NULL;
    s = serving(&port);
    snprintf(address, sizeof(address), "127.0.0.1:%u", port);
    const int again = silence_stderr();
    assert_int_equal(status_server_open(&other, address), ERR_UNAVAILABLE);
    restore_stderr(again);
    assert_null(other);
    status_server_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_stay_text),
        cmocka_unit_test(figures_are_as_prometheus_reads_them),
        cmocka_unit_test(nothing_is_shown_of_nothing),
        cmocka_unit_test(it_is_for_reading),
        cmocka_unit_test(nobody_is_in_the_way_of_others),
        cmocka_unit_test(where_it_cannot_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
