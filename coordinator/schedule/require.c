#include "coordinator/schedule/require.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const facts[REQUIRE_FACTS] = {
    [REQUIRE_VRAM] = "vram",     [REQUIRE_SLOTS] = "slots",   [REQUIRE_VENDOR] = "vendor",
    [REQUIRE_DEVICE] = "device", [REQUIRE_DRIVER] = "driver", [REQUIRE_NAME] = "name",
};
// Two letters before one, so that the longest is found first.
static const char *const operators[REQUIRE_OPERATORS] = {
    [REQUIRE_LE] = "<=", [REQUIRE_GE] = ">=", [REQUIRE_NE] = "!=", [REQUIRE_EQ] = "=",
    [REQUIRE_LT] = "<",  [REQUIRE_GT] = ">",  [REQUIRE_HAS] = "~",
};

static bool is_number(enum require_fact f)
{
    return f == REQUIRE_VRAM || f == REQUIRE_SLOTS;
}

static bool take_number(const char *text, double *out)
{
    static const char units[] = "KMGT";
    char *end;
    *out = strtod(text, &end);
    if (end == text || !isdigit((unsigned char) *text) || !isfinite(*out))
        return false;
    const char *unit = *end ? strchr(units, toupper((unsigned char) *end)) : NULL;
    if (unit) {
        *out = ldexp(*out, 10 * (int) (unit - units + 1));
        end++;
    }
    end += *end == 'i';
    end += *end == 'B';
    return !*end;
}

static enum err take_term(struct require_term *t, const char *text, char *why, size_t room)
{
    size_t fact = 0, op = 0;
    while (fact < REQUIRE_FACTS && strncmp(text, facts[fact], strlen(facts[fact])) != 0)
        fact++;
    if (fact == REQUIRE_FACTS) {
        snprintf(why, room,
                 "'%s': begins with none of vram, slots, vendor, device, driver, name", text);
        return ERR_INPUT;
    }
    const char *p = text + strlen(facts[fact]);
    while (op < REQUIRE_OPERATORS && strncmp(p, operators[op], strlen(operators[op])) != 0)
        op++;
    *t = (struct require_term){ .fact = (enum require_fact) fact,
                                .op = (enum require_operator) op };
    const bool numeric = is_number(t->fact);
    if (op == REQUIRE_OPERATORS ||
        (numeric ? op == REQUIRE_HAS
                 : op != REQUIRE_EQ && op != REQUIRE_NE && op != REQUIRE_HAS)) {
        snprintf(why, room, "'%s': %s goes with %s", text, facts[fact],
                 numeric ? "=, !=, <, <=, >, >=" : "=, !=, ~");
        return ERR_INPUT;
    }
    p += strlen(operators[op]);
    if (!*p || strlen(p) >= sizeof(t->value) || (numeric && !take_number(p, &t->number))) {
        snprintf(why, room, "'%s': %s", text,
                 numeric ? "not a number such as 8G" : "a value that is empty or too long");
        return ERR_INPUT;
    }
    snprintf(t->value, sizeof(t->value), "%s", p);
    return ERR_OK;
}

enum err require_parse(struct require *out, const char *text, char *why, size_t room)
{
    *out = (struct require){ 0 };
    char term[REQUIRE_TEXT_BYTES * 2];
    for (const char *p = text; *p;) {
        const size_t n = strcspn(p, ",");
        if (out->count == REQUIRE_TERMS || n >= sizeof(term)) {
            snprintf(why, room, "more than %d terms, or a long one", REQUIRE_TERMS);
            return ERR_INPUT;
        }
        snprintf(term, sizeof(term), "%.*s", (int) n, p);
        const enum err e = take_term(&out->terms[out->count], term, why, room);
        if (e)
            return e;
        out->count++;
        p += n;
        if (*p == ',' && !*++p) {
            snprintf(why, room, "nothing after the last comma");
            return ERR_INPUT;
        }
    }
    return ERR_OK;
}

static double number_of(enum require_fact f, const struct fleet_worker *w)
{
    return f == REQUIRE_VRAM ? (double) w->memory : (double) w->slots;
}

static const char *text_of(enum require_fact f, const struct fleet_worker *w)
{
    switch (f) {
    case REQUIRE_VENDOR: return w->vendor;
    case REQUIRE_DEVICE: return w->device;
    case REQUIRE_DRIVER: return w->driver;
    case REQUIRE_NAME: return w->name;
    case REQUIRE_VRAM:
    case REQUIRE_SLOTS:
    case REQUIRE_FACTS: break;
    }
    return "";
}

static bool holds(const struct require_term *t, const struct fleet_worker *w)
{
    const int text = strcasecmp(text_of(t->fact, w), t->value);
    const double order = is_number(t->fact) ? number_of(t->fact, w) - t->number : (double) text;
    switch (t->op) {
    case REQUIRE_LE: return order <= 0;
    case REQUIRE_GE: return order >= 0;
    case REQUIRE_NE: return order < 0 || order > 0;
    case REQUIRE_EQ: return !(order < 0 || order > 0);
    case REQUIRE_LT: return order < 0;
    case REQUIRE_GT: return order > 0;
    case REQUIRE_HAS: return strcasestr(text_of(t->fact, w), t->value) != NULL;
    case REQUIRE_OPERATORS: break;
    }
    return false;
}

const struct require_term *require_unmet(const struct require *r, const struct fleet_worker *w)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (!holds(&r->terms[i], w))
            return &r->terms[i];
    return NULL;
}

void require_term_text(const struct require_term *t, char *out, size_t room)
{
    snprintf(out, room, "%s%s%s", facts[t->fact], operators[t->op], t->value);
}

enum err require_parse_offer(struct require *out, const char *text, char *why, size_t room)
{
    bool said[REQUIRE_FACTS] = { false };
    const enum err e = require_parse(out, text, why, room);
    for (uint32_t i = 0; !e && i < out->count; i++) {
        const struct require_term *t = &out->terms[i];
        char term[REQUIRE_TEXT_BYTES * 2];
        require_term_text(t, term, sizeof(term));
        if (t->op != REQUIRE_EQ || said[t->fact]) {
            snprintf(why, room, "'%s': what is offered is said with =, once for each fact",
                     term);
            return ERR_INPUT;
        }
        said[t->fact] = true;
    }
    return e;
}

static void take_fact(struct fleet_worker *w, const struct require_term *t)
{
    switch (t->fact) {
    case REQUIRE_VRAM: w->memory = (uint64_t) t->number; break;
    case REQUIRE_SLOTS: w->slots = (uint32_t) t->number; break;
    case REQUIRE_VENDOR: snprintf(w->vendor, sizeof(w->vendor), "%s", t->value); break;
    case REQUIRE_DEVICE: snprintf(w->device, sizeof(w->device), "%s", t->value); break;
    case REQUIRE_DRIVER: snprintf(w->driver, sizeof(w->driver), "%s", t->value); break;
    case REQUIRE_NAME: snprintf(w->name, sizeof(w->name), "%s", t->value); break;
    case REQUIRE_FACTS: break;
    }
}

const struct require_term *require_unoffered(const struct require *asked,
                                             const struct require *offer)
{
    struct fleet_worker w = { 0 };
    bool known[REQUIRE_FACTS] = { false };
    for (uint32_t i = 0; i < offer->count; i++) {
        take_fact(&w, &offer->terms[i]);
        known[offer->terms[i].fact] = true;
    }
    for (uint32_t i = 0; offer->count > 0 && i < asked->count; i++)
        if (!known[asked->terms[i].fact] || !holds(&asked->terms[i], &w))
            return &asked->terms[i];
    return NULL;
}

void require_say(const struct require_term *t, const struct fleet_worker *w, char *out,
                 size_t room)
{
    char term[REQUIRE_TEXT_BYTES * 2];
    require_term_text(t, term, sizeof(term));
    const int n = snprintf(out, room, "%s (it has ", term);
    const size_t used = n < 0 ? 0 : (size_t) n < room ? (size_t) n : room - 1;
    if (t->fact == REQUIRE_VRAM)
        snprintf(out + used, room - used, "%.1f GiB)", (double) w->memory / 0x1p30);
    else if (t->fact == REQUIRE_SLOTS)
        snprintf(out + used, room - used, "%u)", w->slots);
    else
        snprintf(out + used, room - used, "%s)", text_of(t->fact, w));
}
