// require: what a job asks of the workers that may compose it: "vram>=8G,vendor=amd".
//
// Terms, all of which must hold, separated by commas: a fact of a worker, an operator, a
// value.
//
//   vram     bytes of its device (K, M, G, T are powers of 1024)   = != < <= > >=
//   slots    segments side by side                                 = != < <= > >=
//   vendor, device, driver, name                                   = != ~ (contains)
//
// Texts are compared without regard to case. Pure; any thread.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"
#include "coordinator/fleet/fleet.h"

#define REQUIRE_TERMS 8
#define REQUIRE_TEXT_BYTES 64

enum require_fact {
    REQUIRE_VRAM,
    REQUIRE_SLOTS,
    REQUIRE_VENDOR,
    REQUIRE_DEVICE,
    REQUIRE_DRIVER,
    REQUIRE_NAME,
    REQUIRE_FACTS
};
enum require_operator {
    REQUIRE_LE,
    REQUIRE_GE,
    REQUIRE_NE,
    REQUIRE_EQ,
    REQUIRE_LT,
    REQUIRE_GT,
    REQUIRE_HAS,
    REQUIRE_OPERATORS
};

struct require_term {
    enum require_fact fact;
    enum require_operator op;
    double number;                  // of vram and slots
    char value[REQUIRE_TEXT_BYTES]; // as it was written
};

struct require {
    struct require_term terms[REQUIRE_TERMS];
    uint32_t count;
};

// "" asks for nothing. ERR_INPUT, without logging: `why` says what is wrong, in words.
ERR_CHECKED enum err require_parse(struct require *out, const char *text, char *why,
                                   size_t room);

// What a worker that is not there yet will have: terms with `=` only, one for a fact. As
// require_parse().
ERR_CHECKED enum err require_parse_offer(struct require *out, const char *text, char *why,
                                         size_t room);

// The first term that a worker does not meet of which no more is known than what is offered:
// what nothing is said of is not met. NULL: it meets all, or nothing is offered at all and it
// could have anything.
const struct require_term *require_unoffered(const struct require *asked,
                                             const struct require *offer);

// "vram>=8G", as it was written.
void require_term_text(const struct require_term *t, char *out, size_t room);

// The first term that the worker does not meet; NULL: it meets all.
const struct require_term *require_unmet(const struct require *r, const struct fleet_worker *w);

// "vram>=8G (it has 4.0 GiB)", of a term that is not met.
void require_say(const struct require_term *t, const struct fleet_worker *w, char *out,
                 size_t room);
