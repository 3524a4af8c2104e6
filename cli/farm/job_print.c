#include "cli/farm/job_print.h"

#include <stdio.h>
#include <time.h>

#include "common/base/utf8.h"

json_t *json_text(const char *text)
{
    char clean[2 * WIRE_PATH_BYTES];
    return json_string(utf8_clean(clean, sizeof(clean), text, false));
}

const char *plain(char *out, size_t room, const char *text)
{
    return utf8_clean(out, room, text, true);
}

json_t *job_json(const struct wire_job *j)
{
    return json_pack(
        "{s:I, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "job",
        (json_int_t) j->job, "state", j->state, "film", json_text(j->film), "output",
        json_text(j->output), "owner", json_text(j->owner), "priority",
        (json_int_t) j->priority, "cues", (json_int_t) j->cues, "segments",
        (json_int_t) j->segments, "done", (json_int_t) j->done, "running",
        (json_int_t) j->running, "duration_ms", (json_int_t) j->duration_ms, "submitted_ms",
        (json_int_t) j->submitted_ms, "ended_ms", (json_int_t) j->ended_ms, "left_ms",
        j->left_ms < 0 ? json_null() : json_integer(j->left_ms), "reason",
        json_text(j->reason));
}

void json_print(json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(j);
}

void job_print_heading(void)
{
    printf("%6s  %-10s %11s  %-12s %s\n", "job", "state", "segments", "owner", "film");
}

void job_print_line(const struct wire_job *j)
{
    char segments[32] = "";
    if (j->segments)
        snprintf(segments, sizeof(segments), "%u/%u", j->done, j->segments);
    char film[2 * WIRE_PATH_BYTES], owner[WIRE_NAME_BYTES];
    printf("%6llu  %-10s %11s  %-12s %s\n", (unsigned long long) j->job, j->state, segments,
           plain(owner, sizeof(owner), j->owner), plain(film, sizeof(film), j->film));
}

const char *time_text(char out[TIME_TEXT_BYTES], int64_t ms)
{
    struct tm local;
    const time_t seconds = (time_t) (ms / 1000);
    if (!localtime_r(&seconds, &local) ||
        !strftime(out, TIME_TEXT_BYTES, "%Y-%m-%d %H:%M:%S", &local))
        snprintf(out, TIME_TEXT_BYTES, "?");
    return out;
}

static void print_time(const char *what, int64_t ms)
{
    char text[TIME_TEXT_BYTES];
    if (ms)
        printf("%-10s %s\n", what, time_text(text, ms));
}

const char *span_text(char out[TIME_TEXT_BYTES], int64_t ms)
{
    const long long s = (ms + 500) / 1000;
    if (ms < 0)
        snprintf(out, TIME_TEXT_BYTES, "-");
    else if (s >= 3600)
        snprintf(out, TIME_TEXT_BYTES, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        snprintf(out, TIME_TEXT_BYTES, "%lld:%02lld", s / 60, s % 60);
    return out;
}

void job_print(const struct wire_job *j)
{
    printf("%-10s %llu\n%-10s %s\n", "job", (unsigned long long) j->job, "state", j->state);
    char text[2 * WIRE_PATH_BYTES];
    printf("%-10s %s\n", "film", plain(text, sizeof(text), j->film));
    printf("%-10s %s\n", "output", plain(text, sizeof(text), j->output));
    printf("%-10s %s, priority %lld\n", "owner", plain(text, sizeof(text), j->owner),
           (long long) j->priority);
    if (j->segments)
        printf("%-10s %u of %u done, %u being composed, %u cues\n", "segments", j->done,
               j->segments, j->running, j->cues);
    print_time("submitted", j->submitted_ms);
    print_time("ended", j->ended_ms);
    if (*j->reason)
        printf("%-10s %s\n", "because", plain(text, sizeof(text), j->reason));
}
