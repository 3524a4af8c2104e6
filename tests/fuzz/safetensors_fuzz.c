// links: weights
//
// safetensors files from elsewhere. Of what is accepted every tensor lies within
// the file, is found by its name, and is read; a configuration that is accepted
// comes back the same when it is written and read again.
#include <stdlib.h>
#include <string.h>

#include "common/safetensors/safetensors.h"
#include "tests/fuzz/fuzz.h"
#include "worker/weights/config_json.h"

static volatile float element; // that reading is not optimised away

static void require(bool truth)
{
    if (!truth)
        abort();
}

static void read_tensor(const struct safetensors *s, size_t i, const uint8_t *data, size_t size)
{
    const struct tensor_view t = safetensors_view(s, i);
    const uint8_t *at = t.data;
    struct tensor_view found;
    require(at >= data && t.bytes <= size && (size_t) (at - data) <= size - t.bytes);
    require(t.bytes == tensor_elements(&t) * dtype_bytes(t.dtype));
    require(safetensors_find(s, safetensors_name(s, i), &found) && found.data == t.data);
    for (uint64_t n = 0; n < tensor_elements(&t); n++)
        element = tensor_at(&t, n);
}

static void read_config(const char *text)
{
    struct model_config c, again;
    if (config_json_read(&c, text, "fuzz"))
        return;
    char *once = config_json_write(&c);
    require(once && config_json_read(&again, once, "fuzz") == ERR_OK);
    char *twice = config_json_write(&again);
    require(twice && !strcmp(once, twice));
    free(once);
    free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *s;
    if (safetensors_parse(&s, NULL, data, size))
        return 0;
    for (size_t i = 0; i < safetensors_count(s); i++)
        read_tensor(s, i, data, size);
    const char *config = safetensors_metadata(s, "underscore.config");
    if (config)
        read_config(config);
    safetensors_close(&s);
    return 0;
}
