// links: weights
//
// The configuration inside a checkpoint: any text, asked for values of every kind.
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "worker/weights/xp_cfg.h"

static void ask(const struct xp_cfg *c, const char *path)
{
    uint32_t n = 0, list[4], count = 0;
    double real;
    bool flag, present;
    char text[16];
    if (xp_cfg_u32(c, path, &n) || xp_cfg_real(c, path, &real) || xp_cfg_bool(c, path, &flag))
        n = 0; // one of them is sure to be of the wrong kind
    if (xp_cfg_u32_list(c, path, list, 4, &count) == ERR_OK && count > 4)
        abort();
    if (xp_cfg_text(c, path, text, sizeof(text), &present) == ERR_OK && present &&
        strlen(text) >= sizeof(text))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text)
        abort();
    memcpy(text, data, size);
    text[size] = 0;
    struct xp_cfg *c;
    if (xp_cfg_parse(&c, "fuzz", text) == ERR_OK) {
        ask(c, "a");
        ask(c, "a.b");
        ask(c, "seanet.ratios");
        ask(c, "seanet.causal");
        xp_cfg_free(&c);
    }
    free(text);
    return 0;
}
