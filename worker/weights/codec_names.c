#include "worker/weights/codec_names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool print_codebook(enum codec_layout layout, const char *rest,
                           char out[TENSOR_NAME_MAX])
{
    char *end;
    const unsigned long k = strtoul(rest, &end, 10);
    if (end == rest || strcmp(end, ".embed") != 0)
        return false;
    snprintf(out, TENSOR_NAME_MAX,
             layout == LAYOUT_AUDIOCRAFT ? "quantizer.vq.layers.%lu._codebook.embed"
                                         : "quantizer.layers.%lu.codebook.embed",
             k);
    return true;
}

// "block.1.conv" and "weight" of "block.1.conv.weight", their lengths.
static bool split_parameter(const char *rest, int *module, const char **parameter)
{
    const char *dot = strrchr(rest, '.');
    if (!dot)
        return false;
    *module = (int) (dot - rest);
    *parameter = dot + 1;
    return true;
}

static bool module_ends_with(const char *rest, int module, const char *end)
{
    const int length = (int) strlen(end);
    return module >= length && !memcmp(rest + module - length, end, (size_t) length);
}

bool codec_published_name(enum codec_layout layout, const char *canonical,
                          char out[TENSOR_NAME_MAX])
{
    if (strncmp(canonical, "codec.", 6) != 0 || strlen(canonical) >= TENSOR_NAME_MAX - 32)
        return false;
    const char *name = canonical + 6;
    if (!strncmp(name, "quantizer.", 10))
        return print_codebook(layout, name + 10, out);
    if (strncmp(name, "encoder.model.", 14) != 0 && strncmp(name, "decoder.model.", 14) != 0)
        return false;
    int module;
    const char *parameter, *rest = name + 14; // "N.conv.weight"
    if (!split_parameter(rest, &module, &parameter))
        return false;
    const char *transposed = module_ends_with(rest, module, ".convtr") ? "convtr" : NULL;
    const char *conv = transposed                                ? transposed
                       : module_ends_with(rest, module, ".conv") ? "conv"
                                                                 : NULL;
    if (layout == LAYOUT_AUDIOCRAFT)
        snprintf(out, TENSOR_NAME_MAX, "%.14s%.*s%s%s.%s", name, module, rest, conv ? "." : "",
                 conv ? conv : "", parameter);
    else
        snprintf(out, TENSOR_NAME_MAX, "%.8slayers.%.*s.%s", name,
                 transposed ? module - 2 : module, rest, parameter);
    return true;
}
