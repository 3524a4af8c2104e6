#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

#define HELP_COLUMN 26

static bool is_end(const struct option_spec *s)
{
    return !s->name;
}

static void print_help_text(const char *help)
{
    for (const char *p = help; *p; p++) {
        putchar(*p);
        if (*p == '\n')
            printf("%*s", HELP_COLUMN, "");
    }
    putchar('\n');
}

static void print_choices(const struct option_spec *s)
{
    for (const char *const *c = s->choices; *c; c++)
        printf("%s%s", c == s->choices ? "" : "|", *c);
}

static void print_option(const struct option_spec *s)
{
    if (s->kind == OPTION_HEADING) {
        printf("\n%s:\n", s->name);
        return;
    }
    char left[128];
    const char *value = s->kind == OPTION_FLAG ? "" : s->value ? s->value : "";
    const int n = s->letter ? snprintf(left, sizeof(left), "  -%c, --%s %s", s->letter, s->name, value)
                            : snprintf(left, sizeof(left), "      --%s %s", s->name, value);
    printf("%-*s", HELP_COLUMN, left);
    if (n >= HELP_COLUMN)
        printf("\n%*s", HELP_COLUMN, "");
    if (s->kind == OPTION_CHOICE) {
        print_choices(s);
        printf(": ");
    }
    print_help_text(s->help);
}

static void print_page(const struct verb_page *page)
{
    printf("usage: %s\n\n%s\n", page->usage, page->summary);
    for (size_t t = 0; t < page->table_count; t++)
        for (const struct option_spec *s = page->tables[t]; !is_end(s); s++)
            print_option(s);
    printf("\n  -h, --help              this page\n");
    if (page->examples)
        printf("\nexamples:\n%s\n", page->examples);
}

static const struct option_spec *find_long(const struct verb_page *page, const char *name, size_t n)
{
    for (size_t t = 0; t < page->table_count; t++)
        for (const struct option_spec *s = page->tables[t]; !is_end(s); s++)
            if (s->kind != OPTION_HEADING && strlen(s->name) == n && !strncmp(s->name, name, n))
                return s;
    return NULL;
}

static const struct option_spec *find_short(const struct verb_page *page, char letter)
{
    for (size_t t = 0; t < page->table_count; t++)
        for (const struct option_spec *s = page->tables[t]; !is_end(s); s++)
            if (s->kind != OPTION_HEADING && s->letter == letter)
                return s;
    return NULL;
}

static enum err bad_value(const struct option_spec *s, const char *text, const char *wanted)
{
    log_error("--%s %s: %s", s->name, text, wanted);
    return ERR_USAGE;
}

static enum err check_range(const struct option_spec *s, const char *text, double v)
{
    if ((s->min == 0 && s->max == 0) || (v >= s->min && v <= s->max))
        return ERR_OK;
    log_error("--%s %s: must be between %g and %g", s->name, text, s->min, s->max);
    return ERR_USAGE;
}

static bool parse_double(const char *text, const char **end, double *out)
{
    char *stop;
    errno = 0;
    *out = strtod(text, &stop);
    *end = stop;
    return stop != text && errno == 0 && isfinite(*out);
}

static enum err set_int(const struct option_spec *s, const char *text)
{
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return bad_value(s, text, "not a whole number");
    const enum err e = check_range(s, text, (double) v);
    if (!e)
        *(int64_t *) s->target = v;
    return e;
}

static enum err set_seed(const struct option_spec *s, const char *text)
{
    char *end;
    errno = 0;
    const unsigned long long v = strtoull(text, &end, 0);
    if (!isdigit((unsigned char) *text) || *end || errno)
        return bad_value(s, text, "not a whole number of at most 64 bits");
    *(uint64_t *) s->target = v;
    return ERR_OK;
}

static enum err set_number(const struct option_spec *s, const char *text)
{
    const char *end;
    double v;
    if (!parse_double(text, &end, &v) || *end)
        return bad_value(s, text, "not a number");
    const enum err e = check_range(s, text, v);
    if (!e)
        *(double *) s->target = v;
    return e;
}

// "S", "M:S" or "H:M:S", the last with a fraction.
static enum err set_seconds(const struct option_spec *s, const char *text)
{
    double total = 0;
    const char *p = text;
    for (int parts = 1; ; parts++) {
        double v;
        const char *end;
        if (!isdigit((unsigned char) *p) || !parse_double(p, &end, &v) || parts > 3)
            return bad_value(s, text, "not a time; write seconds or H:M:S");
        total = total * 60 + v;
        if (*end == 0 || (*end == 's' && end[1] == 0))
            break;
        if (*end != ':')
            return bad_value(s, text, "not a time; write seconds or H:M:S");
        p = end + 1;
    }
    const enum err e = check_range(s, text, total);
    if (!e)
        *(int64_t *) s->target = (int64_t) llround(total * 1000);
    return e;
}

static enum err set_bytes(const struct option_spec *s, const char *text)
{
    static const char units[] = "KMGT";
    const char *end;
    double v;
    if (!parse_double(text, &end, &v) || v < 0)
        return bad_value(s, text, "not a size; write for example 512M or 4G");
    const char *unit = *end ? strchr(units, toupper((unsigned char) *end)) : NULL;
    if (unit && *unit) {
        v = ldexp(v, 10 * (int) (unit - units + 1));
        end++;
    }
    if (*end == 'i')
        end++;
    if (*end == 'B')
        end++;
    if (*end || v > 0x1p60)
        return bad_value(s, text, "not a size; write for example 512M or 4G");
    *(uint64_t *) s->target = (uint64_t) v;
    return ERR_OK;
}

static enum err set_choice(const struct option_spec *s, const char *text)
{
    for (int i = 0; s->choices[i]; i++)
        if (!strcmp(s->choices[i], text)) {
            *(int *) s->target = i;
            return ERR_OK;
        }
    char all[256] = "";
    for (int i = 0; s->choices[i]; i++) {
        const size_t used = strlen(all);
        snprintf(all + used, sizeof(all) - used, "%s%s", i ? ", " : "", s->choices[i]);
    }
    log_error("--%s %s: not one of %s", s->name, text, all);
    return ERR_USAGE;
}

static enum err set_value(const struct option_spec *s, const char *text)
{
    switch (s->kind) {
    case OPTION_STRING:
        if (!*text)
            return bad_value(s, "''", "empty");
        *(const char **) s->target = text;
        return ERR_OK;
    case OPTION_INT: return set_int(s, text);
    case OPTION_SEED: return set_seed(s, text);
    case OPTION_NUMBER: return set_number(s, text);
    case OPTION_SECONDS: return set_seconds(s, text);
    case OPTION_BYTES: return set_bytes(s, text);
    case OPTION_CHOICE: return set_choice(s, text);
    case OPTION_FLAG:
    case OPTION_HEADING: break;
    }
    return ERR_BUG;
}

static enum err take_long(const struct verb_page *page, int argc, char **argv, int *i)
{
    const char *name = argv[*i] + 2;
    const char *equals = strchr(name, '=');
    const size_t n = equals ? (size_t) (equals - name) : strlen(name);
    const struct option_spec *s = find_long(page, name, n);
    const bool negated = !s && n > 3 && !strncmp(name, "no-", 3);
    if (negated)
        s = find_long(page, name + 3, n - 3);
    if (!s || (negated && s->kind != OPTION_FLAG)) {
        log_error("no option %s; --help lists them", argv[*i]);
        return ERR_USAGE;
    }
    if (s->kind == OPTION_FLAG) {
        if (equals)
            return bad_value(s, equals + 1, "takes no value");
        *(bool *) s->target = !negated;
        return ERR_OK;
    }
    if (equals)
        return set_value(s, equals + 1);
    if (*i + 1 >= argc)
        return bad_value(s, "", "needs a value");
    return set_value(s, argv[++*i]);
}

static enum err take_short(const struct verb_page *page, int argc, char **argv, int *i)
{
    for (const char *p = argv[*i] + 1; *p; p++) {
        const struct option_spec *s = find_short(page, *p);
        if (!s) {
            log_error("no option -%c; --help lists them", *p);
            return ERR_USAGE;
        }
        if (s->kind == OPTION_FLAG) {
            *(bool *) s->target = true;
            continue;
        }
        if (p[1])
            return set_value(s, p + 1);
        if (*i + 1 >= argc)
            return bad_value(s, "", "needs a value");
        return set_value(s, argv[++*i]);
    }
    return ERR_OK;
}

static bool is_negative_number(const char *text)
{
    return text[0] == '-' && (isdigit((unsigned char) text[1]) || text[1] == '.');
}

static enum err check_count(const struct verb_page *page, const struct verb_arguments *a)
{
    if (a->count >= page->min_arguments)
        return ERR_OK;
    log_error("missing argument; usage: %s", page->usage);
    return ERR_USAGE;
}

enum err options_parse(const struct verb_page *page, int argc, char **argv,
                       struct verb_arguments *out)
{
    *out = (struct verb_arguments){ .values = argv };
    bool only_arguments = false;
    for (int i = 1; i < argc; i++) {
        char *a = argv[i];
        enum err e = ERR_OK;
        if (!only_arguments && (!strcmp(a, "--help") || !strcmp(a, "-h"))) {
            print_page(page);
            out->help_shown = true;
            return ERR_OK;
        }
        if (!only_arguments && !strcmp(a, "--")) {
            only_arguments = true;
        } else if (!only_arguments && a[0] == '-' && a[1] == '-') {
            e = take_long(page, argc, argv, &i);
        } else if (!only_arguments && a[0] == '-' && a[1] && !is_negative_number(a)) {
            e = take_short(page, argc, argv, &i);
        } else if (out->count >= page->max_arguments) {
            log_error("one argument too many: '%s'; usage: %s", a, page->usage);
            e = ERR_USAGE;
        } else {
            argv[out->count++] = a;
        }
        if (e)
            return e;
    }
    return check_count(page, out);
}
