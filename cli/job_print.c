#include "cli/job_print.h"

#include <stdio.h>
#include <time.h>

json_t *job_json(const struct wire_job *j)
{
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s}",
                     "job", (json_int_t) j->job, "state", j->state, "film", j->film, "output", j->output,
                     "owner", j->owner, "priority", (json_int_t) j->priority, "cues", (json_int_t) j->cues,
                     "segments", (json_int_t) j->segments, "done", (json_int_t) j->done,
                     "running", (json_int_t) j->running, "duration_ms", (json_int_t) j->duration_ms,
                     "submitted_ms", (json_int_t) j->submitted_ms, "ended_ms", (json_int_t) j->ended_ms,
                     "reason", j->reason);
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
    printf("%6llu  %-10s %11s  %-12s %s\n", (unsigned long long) j->job, j->state, segments, j->owner, j->film);
}

static void print_time(const char *what, int64_t ms)
{
    char text[40];
    struct tm local;
    const time_t seconds = (time_t) (ms / 1000);
    if (ms && localtime_r(&seconds, &local) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &local))
        printf("%-10s %s\n", what, text);
}

void job_print(const struct wire_job *j)
{
    printf("%-10s %llu\n%-10s %s\n", "job", (unsigned long long) j->job, "state", j->state);
    printf("%-10s %s\n%-10s %s\n", "film", j->film, "output", j->output);
    printf("%-10s %s, priority %lld\n", "owner", j->owner, (long long) j->priority);
    if (j->segments)
        printf("%-10s %u of %u done, %u being composed, %u cues\n", "segments", j->done, j->segments, j->running,
               j->cues);
    print_time("submitted", j->submitted_ms);
    print_time("ended", j->ended_ms);
    if (*j->reason)
        printf("%-10s %s\n", "because", j->reason);
}
