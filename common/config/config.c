#include "common/config/config.h"

#include <ctype.h>
#include <errno.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/log.h"

#define LARGEST_FILE (1u << 20)
#define NUMBER_BYTES 32

struct config {
    const char *name;
    config_t file;
    char *text;
    char (*numbers)[NUMBER_BYTES]; // as text
    size_t number_count;
};

void config_close(struct config **cp)
{
    struct config *c = *cp;
    if (!c)
        return;
    config_destroy(&c->file);
    free(c->text);
    free(c->numbers);
    free(c);
    *cp = NULL;
}

__attribute__((format(printf, 3, 4))) static enum err
wrong(const struct config *c, unsigned line, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    log_error("%s:%u: %s", c->name, line, text);
    return ERR_CONFIG;
}

static const struct option_spec *find(const struct option_spec *table, const char *name)
{
    for (; table->name; table++)
        if (table->kind != OPTION_HEADING && !strcmp(table->name, name))
            return table;
    return NULL;
}

static enum err no_such(const struct config *c, const struct option_spec *table,
                        const config_setting_t *s)
{
    char all[512] = "";
    for (; table->name; table++) {
        const size_t n = strlen(all);
        if (table->kind != OPTION_HEADING)
            snprintf(all + n, sizeof(all) - n, "%s%s", n ? ", " : "", table->name);
    }
    return wrong(c, config_setting_source_line(s), "no setting %s; there are %s",
                 config_setting_name(s), all);
}

// What may stand behind the sign, by the kind of the option.
static bool fits(enum option_kind kind, int type)
{
    const bool whole = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64,
               text = type == CONFIG_TYPE_STRING;
    switch (kind) {
    case OPTION_FLAG: return type == CONFIG_TYPE_BOOL;
    case OPTION_STRING:
    case OPTION_CHOICE: return text;
    case OPTION_INT:
    case OPTION_SEED: return whole;
    case OPTION_NUMBER: return whole || type == CONFIG_TYPE_FLOAT;
    case OPTION_SECONDS: return whole || text || type == CONFIG_TYPE_FLOAT;
    case OPTION_BYTES: return whole || text;
    case OPTION_LIST: return text || type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST;
    case OPTION_HEADING: break;
    }
    return false;
}

static const char *wanted(enum option_kind kind)
{
    switch (kind) {
    case OPTION_FLAG: return "true or false";
    case OPTION_STRING:
    case OPTION_CHOICE: return "text in quotes";
    case OPTION_INT:
    case OPTION_SEED: return "a whole number";
    case OPTION_NUMBER: return "a number";
    case OPTION_SECONDS: return "seconds, or a time such as \"1:30:00\"";
    case OPTION_BYTES: return "a size such as \"512M\"";
    case OPTION_LIST: return "a list of texts such as [ \"a\", \"b\" ]";
    case OPTION_HEADING: break;
    }
    return "";
}

// A setting's value as text, which stays.
static const char *text_of(struct config *c, const config_setting_t *s)
{
    if (config_setting_type(s) == CONFIG_TYPE_STRING)
        return config_setting_get_string(s);
    char *out = c->numbers[c->number_count++];
    if (config_setting_type(s) == CONFIG_TYPE_FLOAT)
        snprintf(out, NUMBER_BYTES, "%.15g", config_setting_get_float(s));
    else
        snprintf(out, NUMBER_BYTES, "%lld", config_setting_get_int64(s));
    return out;
}

static enum err set(struct config *c, const struct option_spec *o, const config_setting_t *s)
{
    char where[512];
    const char *text = text_of(c, s);
    if (o->kind == OPTION_STRING && !*text && !o->fallback) { // "": not set
        *(const char **) o->target = NULL;
        return ERR_OK;
    }
    snprintf(where, sizeof(where), "%s:%u: %s = %.100s", c->name,
             (unsigned) config_setting_source_line(s), o->name, text);
    return option_set(o, where, c, text) ? ERR_CONFIG : ERR_OK;
}

static enum err set_list(struct config *c, const struct option_spec *o, config_setting_t *s)
{
    enum err e = ERR_OK;
    *(struct option_list *) o->target = (struct option_list){ .source = c };
    for (int i = 0; !e && i < config_setting_length(s); i++) {
        config_setting_t *item = config_setting_get_elem(s, (unsigned) i);
        if (config_setting_type(item) != CONFIG_TYPE_STRING)
            e = wrong(c, config_setting_source_line(item), "%s: %s is wanted", o->name,
                      wanted(o->kind));
        else
            e = set(c, o, item);
    }
    return e;
}

static enum err take(struct config *c, const struct option_spec *table, config_setting_t *s)
{
    const struct option_spec *o = find(table, config_setting_name(s));
    const int type = config_setting_type(s);
    if (!o)
        return no_such(c, table, s);
    if (!fits(o->kind, type))
        return wrong(c, config_setting_source_line(s), "%s: %s is wanted", o->name,
                     wanted(o->kind));
    if (o->kind == OPTION_FLAG)
        *(bool *) o->target = config_setting_get_bool(s);
    else
        return type == CONFIG_TYPE_ARRAY || type == CONFIG_TYPE_LIST ? set_list(c, o, s)
                                                                     : set(c, o, s);
    return ERR_OK;
}

// libconfig would open whatever an @include names.
static enum err forbid_includes(const struct config *c)
{
    unsigned line = 1;
    for (const char *p = c->text; p; line++) {
        p += strspn(p, " \t");
        if (!strncmp(p, "@include", 8))
            return wrong(c, line, "files are not included here");
        p = strchr(p, '\n');
        p = p ? p + 1 : NULL;
    }
    return ERR_OK;
}

// Past what holds no numbers: a text, a remark, a name. The same place when none begins here.
static const char *skip(const char *p)
{
    if (*p == '"') {
        for (p++; *p && *p != '"'; p++)
            p += *p == '\\' && p[1];
        return p + (*p == '"');
    }
    if (*p == '#' || !strncmp(p, "//", 2))
        return p + strcspn(p, "\n");
    if (!strncmp(p, "/*", 2)) {
        const char *end = strstr(p + 2, "*/");
        return end ? end + 2 : p + strlen(p);
    }
    if (isalpha((unsigned char) *p) || *p == '*')
        return p +
               strspn(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_*-");
    return p;
}

// libconfig takes whole numbers modulo 2^32, and those with an L to the nearest there is.
static enum err check_numbers(const struct config *c)
{
    unsigned line = 1;
    for (const char *p = c->text, *next; *p; p = next) {
        next = skip(p);
        if (next == p && isdigit((unsigned char) *p)) {
            char *end;
            errno = 0;
            const unsigned long long n =
                strtoull(p, &end, *p == '0' && tolower((unsigned char) p[1]) == 'x' ? 16 : 10);
            const bool fraction = *end == '.' || *end == 'e' || *end == 'E';
            if (!fraction && (errno || n > INT64_MAX || (n > INT32_MAX && *end != 'L')))
                return wrong(c, line, "%.*s: too large for a number%s", (int) (end - p), p,
                             errno || n > INT64_MAX ? "" : "; write an L behind it");
            next = fraction ? end + 1 : end;
        }
        next += next == p;
        for (; p < next; p++)
            line += *p == '\n';
    }
    return ERR_OK;
}

static enum err read_settings(struct config *c, const struct option_spec *table)
{
    enum err e = forbid_includes(c);
    if (!e)
        e = check_numbers(c);
    if (!e && !config_read_string(&c->file, c->text))
        e = wrong(c, (unsigned) config_error_line(&c->file), "%s", config_error_text(&c->file));
    if (e)
        return e;
    config_setting_t *root = config_root_setting(&c->file);
    const int count = config_setting_length(root);
    c->numbers = calloc((size_t) count + 1, sizeof(*c->numbers));
    if (!c->numbers)
        return ERR_NOMEM;
    for (int i = 0; !e && i < count; i++)
        e = take(c, table, config_setting_get_elem(root, (unsigned) i));
    return e;
}

enum err config_parse(struct config **out, const struct option_spec *table, const char *name,
                      const char *text, size_t bytes)
{
    struct config *c = calloc(1, sizeof(*c));
    *out = c;
    if (!c)
        return ERR_NOMEM;
    c->name = name;
    config_init(&c->file);
    if (bytes > LARGEST_FILE || memchr(text, 0, bytes))
        return wrong(c, 1, "not a configuration file");
    c->text = malloc(bytes + 1);
    if (!c->text)
        return ERR_NOMEM;
    memcpy(c->text, text, bytes);
    c->text[bytes] = 0;
    return read_settings(c, table);
}

static enum err load(struct config **out, const struct option_spec *table, const char *path)
{
    struct file_map m;
    *out = NULL;
    enum err e = file_map(&m, path);
    if (e)
        return e;
    e = config_parse(out, table, path, m.data ? (const char *) m.data : "", m.bytes);
    file_unmap(&m);
    return e;
}

// Starting

static void print_line(void *user, const char *text)
{
    (void) user;
    puts(text);
}

enum err config_start(struct config_command *out, const struct config_page *page, int argc,
                      char **argv)
{
    struct verb_arguments arguments = { 0 };
    bool check, dump, version;
    const struct option_spec common[] = {
        { .name = "Configuration", .kind = OPTION_HEADING },
        { .name = "config",
          .kind = OPTION_STRING,
          .target = &out->path,
          .value = "FILE",
          .help = "read it first; what is said here wins" },
        { .name = "check-config",
          .kind = OPTION_FLAG,
          .target = &check,
          .help = "say whether all of it is in order, and end" },
        { .name = "dump-config",
          .kind = OPTION_FLAG,
          .target = &dump,
          .help = "print it as a file, and end" },
        { .name = "version",
          .kind = OPTION_FLAG,
          .target = &version,
          .help = "print it, and end" },
        { 0 },
    };
    const struct option_spec *const tables[] = { page->table, common };
    const struct verb_page verb = { .usage = page->usage,
                                    .summary = page->summary,
                                    .tables = tables,
                                    .table_count = 2 };
    *out = (struct config_command){ 0 };
    enum err e = options_default(common);
    if (!e)
        e = options_default(page->table);
    if (!e)
        e = options_parse(&verb, argc, argv, &arguments);
    out->done = arguments.help_shown;
    if (!e && version) {
        printf("%s %s\n", page->program, UNDERSCORE_VERSION);
        out->done = true;
    }
    if (e || out->done)
        return e;
    if (out->path) { // once more, now over what the file says
        e = options_default(page->table);
        if (!e)
            e = load(&out->file, page->table, out->path);
        if (!e)
            e = options_parse(&verb, argc, argv, &arguments);
    }
    if (!e && dump)
        config_dump(page->table, print_line, NULL);
    else if (!e && page->check)
        e = page->check(page->settings);
    if (!e && check)
        printf("%s: in order\n", out->path ? out->path : "the command line");
    out->done = check || dump;
    return e;
}

// Showing

// Each line of the help, made a sentence of.
static void dump_help(const char *help, void (*line)(void *user, const char *text), void *user)
{
    char text[256];
    for (const char *p = help; p;) {
        const size_t n = strcspn(p, "\n");
        const bool last = p[n] == 0;
        snprintf(text, sizeof(text), "# %.*s%s", (int) n, p, last ? "." : "");
        if (p == help)
            text[2] = (char) toupper((unsigned char) text[2]);
        line(user, text);
        p = last ? NULL : p + n + 1;
    }
}

static void dump_rules(const struct option_spec *s, void (*line)(void *user, const char *text),
                       void *user)
{
    char range[128], text[256];
    option_range(range, sizeof(range), s);
    snprintf(text, sizeof(text), "# %s%s%s.", range, *range && s->reload ? "; " : "",
             s->reload ? "a reload changes it" : "");
    text[2] = (char) toupper((unsigned char) text[2]);
    if (*range || s->reload)
        line(user, text);
}

void config_dump(const struct option_spec *table, void (*line)(void *user, const char *text),
                 void *user)
{
    static char value[OPTION_TEXT_BYTES], text[OPTION_TEXT_BYTES + 128]; // one thread
    for (const struct option_spec *s = table; s->name; s++) {
        if (s != table)
            line(user, "");
        if (s->kind == OPTION_HEADING) {
            snprintf(text, sizeof(text), "# %s: what is commented out has its default.",
                     s->name);
            line(user, text);
            continue;
        }
        dump_help(s->help, line, user);
        dump_rules(s, line, user);
        option_text(value, s);
        snprintf(text, sizeof(text), "%s%s = %s;", option_is_default(s) ? "#" : "", s->name,
                 value);
        line(user, text);
    }
}

void config_take_over(const struct option_spec *now, const struct option_spec *fresh,
                      bool only_ask, void (*line)(void *user, const char *text), void *user)
{
    // Too large for the stack; one thread comes here.
    static char old[OPTION_TEXT_BYTES], new[OPTION_TEXT_BYTES],
        text[2 * OPTION_TEXT_BYTES + 256];
    for (; now->name; now++, fresh++) {
        option_text(old, now);
        option_text(new, fresh);
        if (!strcmp(old, new))
            continue;
        if (now->reload)
            snprintf(text, sizeof(text), "%s: %s -> %s", now->name, old, new);
        else
            snprintf(text, sizeof(text), "%s: still %s; %s needs a restart", now->name, old,
                     new);
        line(user, text);
        if (now->reload && !only_ask)
            memcpy(now->target, fresh->target, option_bytes(now));
    }
}
