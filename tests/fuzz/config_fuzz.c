// links: config
//
// A daemon's configuration file: any bytes are refused, or leave every value in its range
// and can be dumped and read again.
#include <stdlib.h>
#include <string.h>

#include "common/config/config.h"
#include "tests/fuzz/fuzz.h"

static void drop(void *to, const char *text)
{
    *(size_t *) to += strlen(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const choices[] = { "left", "right", NULL };
    bool flag;
    const char *text;
    int64_t whole, time_ms;
    uint64_t bytes;
    double number;
    int choice;
    struct option_list list;
    const struct option_spec table[] = {
        { .name = "flag", .kind = OPTION_FLAG, .target = &flag, .help = "f" },
        { .name = "text", .kind = OPTION_STRING, .target = &text, .help = "t" },
        { .name = "whole",
          .kind = OPTION_INT,
          .target = &whole,
          .min = -5,
          .max = 5,
          .fallback = "3",
          .help = "w" },
        { .name = "time",
          .kind = OPTION_SECONDS,
          .target = &time_ms,
          .min = 1,
          .max = 99,
          .fallback = "1.5",
          .help = "t" },
        { .name = "bytes",
          .kind = OPTION_BYTES,
          .target = &bytes,
          .min = 1024,
          .max = 1e12,
          .fallback = "4G",
          .help = "b" },
        { .name = "number",
          .kind = OPTION_NUMBER,
          .target = &number,
          .min = 0.05,
          .max = 60,
          .fallback = "1",
          .help = "n" },
        { .name = "choice",
          .kind = OPTION_CHOICE,
          .target = &choice,
          .choices = choices,
          .fallback = "left",
          .help = "c" },
        { .name = "list", .kind = OPTION_LIST, .target = &list, .help = "l" },
        { 0 },
    };
    struct config *c;
    size_t printed = 0;
    if (options_default(table))
        abort();
    const enum err e = config_parse(&c, table, "fuzz.conf", (const char *) data, size);
    if (e && e != ERR_CONFIG)
        abort();
    if (whole < -5 || whole > 5 || time_ms < 1000 || time_ms > 99000 || bytes < 1024 ||
        !(number >= 0.05 && number <= 60) || choice < 0 || choice > 1 ||
        list.count > OPTION_LIST_MOST)
        abort();
    config_dump(table, drop, &printed);
    if (printed == 0)
        abort();
    config_close(&c);
    return 0;
}
