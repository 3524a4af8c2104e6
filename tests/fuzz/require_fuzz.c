// links: schedule
//
// What a client may ask of workers: any text. What is understood can be asked of any worker
// and told to anybody.
#include <stdlib.h>
#include <string.h>

#include "coordinator/schedule/require.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fleet_worker workers[] = {
        { .name = "n/0",
          .vendor = "AMD",
          .device = "W5500",
          .driver = "radv",
          .memory = 8ull << 30,
          .slots = 4 },
        { .name = "" },
    };
    struct require r;
    char why[64] = "", said[64] = "";
    char *text = malloc(size + 1);
    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = 0;
    const enum err e = require_parse(&r, text, why, sizeof(why));
    if (e ? !*why : r.count > REQUIRE_TERMS)
        abort();
    for (size_t i = 0; !e && i < sizeof(workers) / sizeof(workers[0]); i++) {
        const struct require_term *unmet = require_unmet(&r, &workers[i]);
        if (unmet)
            require_say(unmet, &workers[i], said, sizeof(said));
        if (unmet && (!*said || strlen(said) >= sizeof(said)))
            abort();
    }
    free(text);
    return 0;
}
