#include "common/config/options.h"

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

static void print_help_text(const struct option_spec *s)
{
    for (const char *p = s->help; *p; p++) {
        putchar(*p);
        if (*p == '\n')
            printf("%*s", HELP_COLUMN, "");
    }
    if (s->fallback)
        printf(" (%s%s%s)", s->fallback, s->unit ? " " : "", s->unit ? s->unit : "");
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
    const int n =
        s->letter ? snprintf(left, sizeof(left), "  -%c, --%s %s", s->letter, s->name, value)
                  : snprintf(left, sizeof(left), "      --%s %s", s->name, value);
    printf("%-*s", HELP_COLUMN, left);
    if (n >= HELP_COLUMN)
        printf("\n%*s", HELP_COLUMN, "");
    if (s->kind == OPTION_CHOICE) {
        print_choices(s);
        printf(": ");
    }
    print_help_text(s);
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

static const struct option_spec *find_long(const struct verb_page *page, const char *name,
                                           size_t n)
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

static enum err bad_value(const char *where, const char *wanted)
{
    log_error("%s: %s", where, wanted);
    return ERR_USAGE;
}

static bool has_range(const struct option_spec *s)
{
    return s->min < 0 || s->max > 0;
}

static enum err check_range(const struct option_spec *s, const char *where, double v)
{
    char range[128];
    if (!has_range(s) || (v >= s->min && v <= s->max))
        return ERR_OK;
    option_range(range, sizeof(range), s);
    log_error("%s: must be %s", where, range);
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

static enum err set_int(const struct option_spec *s, const char *where, const char *text)
{
    char *end;
    errno = 0;
    const long long v = strtoll(text, &end, 10);
    if (end == text || *end || errno)
        return bad_value(where, "not a whole number");
    const enum err e = check_range(s, where, (double) v);
    if (!e)
        *(int64_t *) s->target = v;
    return e;
}

static enum err set_seed(const struct option_spec *s, const char *where, const char *text)
{
    char *end;
    errno = 0;
    const unsigned long long v = strtoull(text, &end, 0);
    if (!isdigit((unsigned char) *text) || *end || errno)
        return bad_value(where, "not a whole number of at most 64 bits");
    *(uint64_t *) s->target = v;
    return ERR_OK;
}

static enum err set_number(const struct option_spec *s, const char *where, const char *text)
{
    const char *end;
    double v;
    if (!parse_double(text, &end, &v) || *end)
        return bad_value(where, "not a number");
    const enum err e = check_range(s, where, v);
    if (!e)
        *(double *) s->target = v;
    return e;
}

// "S", "M:S" or "H:M:S", the last with a fraction.
static enum err set_seconds(const struct option_spec *s, const char *where, const char *text)
{
    double total = 0;
    const char *p = text;
    for (int parts = 1;; parts++) {
        double v;
        const char *end;
        if (!isdigit((unsigned char) *p) || !parse_double(p, &end, &v) || parts > 3)
            return bad_value(where, "not a time; write seconds or H:M:S");
        total = total * 60 + v;
        if (*end == 0 || (*end == 's' && end[1] == 0))
            break;
        if (*end != ':')
            return bad_value(where, "not a time; write seconds or H:M:S");
        p = end + 1;
    }
    const enum err e = check_range(s, where, total);
    if (!e)
        *(int64_t *) s->target = (int64_t) llround(total * 1000);
    return e;
}

static enum err set_bytes(const struct option_spec *s, const char *where, const char *text)
{
    static const char units[] = "KMGT";
    const char *end;
    double v;
    if (!parse_double(text, &end, &v) || v < 0)
        return bad_value(where, "not a size; write for example 512M or 4G");
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
        return bad_value(where, "not a size; write for example 512M or 4G");
    const enum err e = check_range(s, where, v);
    if (!e)
        *(uint64_t *) s->target = (uint64_t) v;
    return e;
}

static enum err set_choice(const struct option_spec *s, const char *where, const char *text)
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
    log_error("%s: not one of %s", where, all);
    return ERR_USAGE;
}

static enum err add_item(const struct option_spec *s, const char *where, const void *source,
                         const char *text)
{
    struct option_list *l = s->target;
    char why[256];
    if (s->check && !s->check(text, why, sizeof(why)))
        return bad_value(where, why);
    if (l->source != source)
        *l = (struct option_list){ .source = source };
    if (l->count == OPTION_LIST_MOST)
        return bad_value(where, "too many of these");
    l->items[l->count++] = text;
    return ERR_OK;
}

static enum err set_string(const struct option_spec *s, const char *where, const char *text)
{
    char why[256];
    if (!*text)
        return bad_value(where, "empty");
    if (s->check && !s->check(text, why, sizeof(why)))
        return bad_value(where, why);
    *(const char **) s->target = text;
    return ERR_OK;
}

enum err option_set(const struct option_spec *s, const char *where, const void *source,
                    const char *text)
{
    switch (s->kind) {
    case OPTION_STRING: return set_string(s, where, text);
    case OPTION_LIST:
        return *text ? add_item(s, where, source, text) : bad_value(where, "empty");
    case OPTION_INT: return set_int(s, where, text);
    case OPTION_SEED: return set_seed(s, where, text);
    case OPTION_NUMBER: return set_number(s, where, text);
    case OPTION_SECONDS: return set_seconds(s, where, text);
    case OPTION_BYTES: return set_bytes(s, where, text);
    case OPTION_CHOICE: return set_choice(s, where, text);
    case OPTION_FLAG:
    case OPTION_HEADING: break;
    }
    return ERR_BUG;
}

size_t option_bytes(const struct option_spec *s)
{
    static const size_t bytes[] = {
        [OPTION_FLAG] = sizeof(bool),
        [OPTION_STRING] = sizeof(const char *),
        [OPTION_INT] = sizeof(int64_t),
        [OPTION_SEED] = sizeof(uint64_t),
        [OPTION_NUMBER] = sizeof(double),
        [OPTION_SECONDS] = sizeof(int64_t),
        [OPTION_BYTES] = sizeof(uint64_t),
        [OPTION_CHOICE] = sizeof(int),
        [OPTION_LIST] = sizeof(struct option_list),
        [OPTION_HEADING] = 0,
    };
    return bytes[s->kind];
}

enum err options_default(const struct option_spec *specs)
{
    enum err e = ERR_OK;
    for (const struct option_spec *s = specs; !e && !is_end(s); s++) {
        if (s->kind == OPTION_HEADING)
            continue;
        memset(s->target, 0, option_bytes(s));
        if (s->fallback)
            e = option_set(s, s->name, NULL, s->fallback) ? ERR_BUG : ERR_OK;
    }
    return e;
}

bool option_is_default(const struct option_spec *s)
{
    struct option_list list = { 0 }; // the largest of the targets
    struct option_spec plain = *s;
    char now[OPTION_TEXT_BYTES], then[OPTION_TEXT_BYTES];
    plain.target = &list;
    if (plain.fallback && option_set(&plain, plain.name, NULL, plain.fallback))
        return false;
    option_text(now, s);
    option_text(then, &plain);
    return !strcmp(now, then);
}

void option_range(char *out, size_t room, const struct option_spec *s)
{
    out[0] = 0;
    if (!has_range(s))
        snprintf(out, room, "%s", s->unit ? s->unit : "");
    else if (s->kind == OPTION_BYTES)
        snprintf(out, room, "%.0fM to %.0fM", s->min / (1 << 20), s->max / (1 << 20));
    else
        snprintf(out, room, "%.10g to %.10g%s%s", s->min, s->max, s->unit ? " " : "",
                 s->unit ? s->unit : "");
}

// Text between quotes, as libconfig reads it back.
static size_t quote(char *out, size_t room, const char *text)
{
    size_t n = 0;
    out[n++] = '"';
    for (; *text && n + 3 < room; text++) {
        if (*text == '"' || *text == '\\')
            out[n++] = '\\';
        out[n++] = *text;
    }
    out[n++] = '"';
    out[n] = 0;
    return n;
}

static void list_text(char out[OPTION_TEXT_BYTES], const struct option_list *l)
{
    size_t n = (size_t) snprintf(out, OPTION_TEXT_BYTES, "[ ");
    for (size_t i = 0; i < l->count && n + 16 < OPTION_TEXT_BYTES; i++) {
        n += quote(out + n, OPTION_TEXT_BYTES - n - 8, l->items[i]);
        n += (size_t) snprintf(out + n, OPTION_TEXT_BYTES - n, i + 1 < l->count ? ", " : " ");
    }
    snprintf(out + n, OPTION_TEXT_BYTES - n, "]");
}

static void bytes_text(char *out, uint64_t bytes)
{
    if (bytes == 0 || bytes % (1u << 20))
        snprintf(out, OPTION_TEXT_BYTES, "\"%llu\"", (unsigned long long) bytes);
    else
        snprintf(out, OPTION_TEXT_BYTES, "\"%lluM\"", (unsigned long long) (bytes >> 20));
}

void option_text(char out[OPTION_TEXT_BYTES], const struct option_spec *s)
{
    const void *t = s->target;
    switch (s->kind) {
    case OPTION_FLAG:
        snprintf(out, OPTION_TEXT_BYTES, "%s", *(const bool *) t ? "true" : "false");
        break;
    case OPTION_STRING:
        quote(out, OPTION_TEXT_BYTES, *(const char *const *) t ? *(const char *const *) t : "");
        break;
    case OPTION_INT:
        snprintf(out, OPTION_TEXT_BYTES, "%lld", (long long) *(const int64_t *) t);
        break;
    case OPTION_SEED:
        snprintf(out, OPTION_TEXT_BYTES, "%lluL", (unsigned long long) *(const uint64_t *) t);
        break;
    case OPTION_NUMBER: snprintf(out, OPTION_TEXT_BYTES, "%.15g", *(const double *) t); break;
    case OPTION_SECONDS:
        snprintf(out, OPTION_TEXT_BYTES, "%.15g", (double) *(const int64_t *) t / 1000);
        break;
    case OPTION_BYTES: bytes_text(out, *(const uint64_t *) t); break;
    case OPTION_CHOICE: quote(out, OPTION_TEXT_BYTES, s->choices[*(const int *) t]); break;
    case OPTION_LIST: list_text(out, t); break;
    case OPTION_HEADING: out[0] = 0; break;
    }
}

static enum err set_argument(const struct option_spec *s, const void *source, const char *text)
{
    char where[512];
    snprintf(where, sizeof(where), "--%s %s", s->name, *text ? text : "''");
    return option_set(s, where, source, text);
}

static enum err takes(const struct option_spec *s, const char *what)
{
    log_error("--%s %s", s->name, what);
    return ERR_USAGE;
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
            return takes(s, "takes no value");
        *(bool *) s->target = !negated;
        return ERR_OK;
    }
    if (equals)
        return set_argument(s, argv, equals + 1);
    if (*i + 1 >= argc)
        return takes(s, "needs a value");
    return set_argument(s, argv, argv[++*i]);
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
            return set_argument(s, argv, p + 1);
        if (*i + 1 >= argc)
            return takes(s, "needs a value");
        return set_argument(s, argv, argv[++*i]);
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
