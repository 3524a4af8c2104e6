// Tests of import and model_file: the published files of the golden model, in
// every form they come in, and those that must be refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/bytes.h"
#include "common/safetensors/safetensors.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/config_json.h"
#include "worker/weights/import.h"
#include "worker/weights/weights_fixture.h"

#define TINY "tests/golden/tiny-a/"
static const char lm_path[] = TINY "state_dict.bin";
static const char lm_half_path[] = TINY "state_dict_fp16.bin";
static const char codec_path[] = TINY "compression_state_dict.bin";

static char directory[] = "/tmp/underscore-import-XXXXXX";

// A path in the test's directory, valid until the next call with this slot.
static const char *at(int slot, const char *name)
{
    static char paths[4][128];
    snprintf(paths[slot], sizeof(paths[slot]), "%s/%s", directory, name);
    return paths[slot];
}

static struct model_import *import(const char *lm, const char *codec)
{
    struct model_import *m;
    assert_int_equal(model_import_open(&m, lm, codec), ERR_OK);
    return m;
}

static struct tensor_view get(struct tensor_source *s, const char *name)
{
    struct tensor_view t;
    assert_int_equal(s->find(s, name, &t), ERR_OK);
    return t;
}

static void sizes_are_those_of_the_manifest(void **state)
{
    (void) state;
    struct model_import *m = import(lm_path, codec_path);
    const struct model_config *c = model_import_tensors(m)->config;
    assert_int_equal(c->vit.width, 128);
    assert_int_equal(c->vit.heads, 2);
    assert_int_equal(c->vit.layers, 3);
    assert_int_equal(c->vit.patch, 14);
    assert_int_equal(c->vit.image, 56);
    assert_int_equal(c->vit.out, 96);
    assert_int_equal(c->qformer.queries, 16);
    assert_int_equal(c->qformer.layers, 4);
    assert_true(c->qformer.cross[0] && !c->qformer.cross[1] && c->qformer.cross[2] &&
                !c->qformer.cross[3]);
    assert_true(c->qformer.epsilon == 1e-12f);
    assert_int_equal(c->lm.dim, 128);
    assert_int_equal(c->lm.heads, 4);
    assert_int_equal(c->lm.layers, 3);
    assert_int_equal(c->lm.card, 64);
    assert_int_equal(c->lm.codebooks, 4);
    assert_int_equal(c->lm.delays[3], 3);
    assert_true(c->lm.guidance == 3 && c->lm.max_duration_s == 32);
    assert_false(c->lm.cross_positions);
    assert_int_equal(c->codec.filters, 8);
    assert_int_equal(c->codec.dimension, 32);
    assert_int_equal(c->codec.bins, 64);
    assert_int_equal(c->codec.ratio_count, 4);
    assert_int_equal(c->codec.ratios[0], 8);
    assert_int_equal(c->codec.ratios[1], 5);
    assert_int_equal(c->codec.lstm_layers, 2);
    assert_int_equal(c->codec.compress, 2);
    assert_int_equal(codec_hop(&c->codec), 640);
    assert_int_equal(c->codec.pad, PAD_CONSTANT);
    model_import_close(&m);
    assert_null(m);
}

struct pair {
    struct tensor_source *f32, *f16;
    uint64_t compared;
};

static enum err compare_halves(void *context, const struct tensor_spec *spec)
{
    struct pair *p = context;
    if (!strncmp(spec->name, "codec.", 6))
        return ERR_OK;
    const struct tensor_view a = get(p->f32, spec->name), b = get(p->f16, spec->name);
    assert_int_equal(a.dtype, DTYPE_F32);
    assert_int_equal(b.dtype, DTYPE_F16);
    for (uint64_t i = 0; i < tensor_elements(&a); i++)
        assert_true(half_to_float(half_from_float(tensor_at(&a, i))) == tensor_at(&b, i));
    p->compared += tensor_elements(&a);
    return ERR_OK;
}

// The same weights were saved in single and half precision.
static void single_and_half_precision_agree(void **state)
{
    (void) state;
    struct model_import *f32 = import(lm_path, codec_path),
                        *f16 = import(lm_half_path, codec_path);
    struct pair p = { model_import_tensors(f32), model_import_tensors(f16), 0 };
    assert_int_equal(model_tensors_each(p.f32->config, compare_halves, &p), ERR_OK);
    assert_true(p.compared > 2000000);
    model_import_close(&f32);
    model_import_close(&f16);
}

static void assert_folded(struct tensor_source *s, struct checkpoint *c, const char *canonical,
                          const char *g_name, const char *v_name)
{
    struct tensor_view g, v;
    const struct tensor_view w = get(s, canonical);
    assert_int_equal(checkpoint_find(c, g_name, &g), ERR_OK);
    assert_int_equal(checkpoint_find(c, v_name, &v), ERR_OK);
    const uint64_t rows = v.shape[0], columns = tensor_elements(&v) / rows;
    assert_int_equal(tensor_elements(&g), rows);
    for (uint64_t r = 0; r < rows; r++) {
        double norm = 0;
        for (uint64_t i = 0; i < columns; i++)
            norm = hypot(norm, (double) tensor_at(&v, r * columns + i));
        for (uint64_t i = 0; i < columns; i++) {
            const double expected =
                (double) tensor_at(&v, r * columns + i) / norm * (double) tensor_at(&g, r);
            assert_true(fabs(expected - (double) tensor_at(&w, r * columns + i)) <=
                        1e-7 * fabs(expected));
        }
    }
}

static void weight_norm_is_folded(void **state)
{
    (void) state;
    struct model_import *m = import(lm_path, codec_path);
    struct tensor_source *s = model_import_tensors(m);
    struct checkpoint *c;
    assert_int_equal(checkpoint_open(&c, codec_path), ERR_OK);
    assert_folded(s, c, "codec.encoder.model.12.conv.weight",
                  "encoder.model.12.conv.conv.weight_g", "encoder.model.12.conv.conv.weight_v");
    assert_folded(s, c, "codec.decoder.model.4.block.3.conv.weight",
                  "decoder.model.4.block.3.conv.conv.weight_g",
                  "decoder.model.4.block.3.conv.conv.weight_v");
    // A transposed convolution: dimension 0 is the input channel.
    assert_folded(s, c, "codec.decoder.model.6.convtr.weight",
                  "decoder.model.6.convtr.convtr.weight_g",
                  "decoder.model.6.convtr.convtr.weight_v");
    checkpoint_close(&c);
    model_import_close(&m);
}

// ---- the codec as Hugging Face publishes it

static void replace(char *text, const char *from, const char *to)
{
    char *found = strstr(text, from);
    if (!found)
        return;
    char rest[TENSOR_NAME_MAX];
    snprintf(rest, sizeof(rest), "%s", found + strlen(from));
    snprintf(found, TENSOR_NAME_MAX - (size_t) (found - text), "%s%s", to, rest);
}

static void write_transformers_codec(const char *path, bool parametrized)
{
    static char names[512][TENSOR_NAME_MAX];
    static struct safetensors_item items[512];
    struct checkpoint *c;
    assert_int_equal(checkpoint_open(&c, codec_path), ERR_OK);
    const uint32_t count = checkpoint_count(c);
    assert_true(count <= 512);
    for (uint32_t i = 0; i < count; i++) {
        struct tensor_view t;
        assert_int_equal(checkpoint_find(c, checkpoint_name(c, i), &t), ERR_OK);
        snprintf(names[i], sizeof(names[i]), "%s", checkpoint_name(c, i));
        replace(names[i], "coder.model.", "coder.layers.");
        replace(names[i], ".conv.conv.", ".conv.");
        replace(names[i], ".convtr.convtr.", ".conv.");
        replace(names[i], "quantizer.vq.layers.", "quantizer.layers.");
        replace(names[i], "._codebook.", ".codebook.");
        if (parametrized) {
            replace(names[i], ".weight_g", ".parametrizations.weight.original0");
            replace(names[i], ".weight_v", ".parametrizations.weight.original1");
        }
        items[i] = (struct safetensors_item){ names[i], t.dtype, t.rank, { 0 }, t.data };
        memcpy(items[i].shape, t.shape, sizeof(t.shape));
    }
    assert_int_equal(
        safetensors_write(
            path, &(struct safetensors_write_params){ .items = items, .item_count = count }),
        ERR_OK);
    checkpoint_close(&c);
}

static enum err compare_codecs(void *context, const struct tensor_spec *spec)
{
    const struct pair *p = context;
    if (strncmp(spec->name, "codec.", 6) != 0)
        return ERR_OK;
    const struct tensor_view a = get(p->f32, spec->name), b = get(p->f16, spec->name);
    assert_int_equal(a.bytes, b.bytes);
    assert_memory_equal(a.data, b.data, a.bytes);
    return ERR_OK;
}

static void the_transformers_codec_is_the_same(void **state)
{
    (void) state;
    struct model_import *published = import(lm_path, codec_path);
    for (int parametrized = 0; parametrized < 2; parametrized++) {
        const char *path = at(0, "model.safetensors");
        write_transformers_codec(path, parametrized);
        struct model_import *m = import(lm_path, path);
        struct pair p = { model_import_tensors(published), model_import_tensors(m), 0 };
        assert_int_equal(p.f16->config->codec.pad, PAD_REFLECT);
        assert_int_equal(model_tensors_each(p.f32->config, compare_codecs, &p), ERR_OK);
        model_import_close(&m);
        unlink(path);
    }
    model_import_close(&published);
}

// ---- the model file

static enum err compare_tensors(void *context, const struct tensor_spec *spec)
{
    struct pair *p = context; // f32: the import; f16: the file, whatever its precision
    const struct tensor_view a = get(p->f32, spec->name), b = get(p->f16, spec->name);
    assert_int_equal(a.rank, b.rank);
    const bool half = b.dtype == DTYPE_F16;
    for (uint64_t i = 0; i < tensor_elements(&a); i++) {
        const float x = tensor_at(&a, i);
        assert_true(tensor_at(&b, i) == (half ? half_to_float(half_from_float(x)) : x));
    }
    p->compared += half ? tensor_elements(&a) : 0;
    return ERR_OK;
}

static uint64_t write_and_compare(const char *lm, enum model_precision precision)
{
    const char *path = at(0, "out.safetensors");
    struct model_import *m = import(lm, codec_path);
    assert_int_equal(
        model_file_write(path,
                         &(struct model_file_write_params){ .source = model_import_tensors(m),
                                                            .precision = precision,
                                                            .license = "CC-BY-NC\n\xc3\xa9" }),
        ERR_OK);
    struct model_file *f;
    assert_int_equal(model_file_open(&f, path), ERR_OK);
    char *was = config_json_write(model_import_tensors(m)->config);
    char *is = config_json_write(model_file_config(f));
    assert_string_equal(is, was);
    free(was);
    free(is);
    assert_string_equal(model_file_license(f), "CC-BY-NC\n\xc3\xa9");
    assert_string_equal(model_file_software(f), UNDERSCORE_VERSION);
    struct pair p = { model_import_tensors(m), model_file_tensors(f), 0 };
    assert_int_equal(model_tensors_each(model_file_config(f), compare_tensors, &p), ERR_OK);
    assert_int_equal(get(p.f16, "out_norm.bias").dtype, DTYPE_F32);
    assert_int_equal(get(p.f16, "codec.quantizer.1.embed").dtype, DTYPE_F32);
    model_file_close(&f);
    model_import_close(&m);
    unlink(path);
    return p.compared;
}

static void a_model_file_holds_what_was_imported(void **state)
{
    (void) state;
    assert_int_equal(write_and_compare(lm_path, PRECISION_F32), 0);
    assert_int_equal(write_and_compare(lm_path, PRECISION_AS_SOURCE), 0);
    assert_int_equal(write_and_compare(lm_half_path, PRECISION_F32), 0);
    const uint64_t all = write_and_compare(lm_path, PRECISION_F16);
    const uint64_t lm = write_and_compare(lm_half_path, PRECISION_AS_SOURCE);
    assert_true(lm > 2000000 && all > lm); // the codec was saved in single precision
}

// Change the text `from` in a file for one of the same length.
static void patch(const char *path, const char *from, const char *to)
{
    const size_t length = strlen(from);
    struct buffer b = slurp(path);
    uint8_t *found = memmem(b.data, b.bytes, from, length);
    assert_non_null(found);
    assert_int_equal(strlen(to), length);
    memcpy(found, to, length);
    spill(path, b.data, b.bytes);
    buffer_free(&b);
}

static void copy_file(const char *from, const char *to)
{
    struct buffer b = slurp(from);
    spill(to, b.data, b.bytes);
    buffer_free(&b);
}

static void a_wrong_model_file_is_refused(void **state)
{
    (void) state;
    static const char *const patches[][2] = {
        { "\"underscore.format\":\"1\"", "\"underscore.format\":\"2\"" },
        { "underscore.config", "underscore.confix" },
        { "\\\"vit.width\\\":128", "\\\"vit.width\\\":192" },
        { "\\\"vit.width\\\":128", "\\\"vit.width\\\":-28" },
        { "\\\"lm.layers\\\":3", "\\\"lm.layers\\\":4" },
        { "\\\"lm.layers\\\":3", "\\\"lm.layerz\\\":3" },
        { "\\\"lm.dim\\\":128", "\\\"lm.dim\\\":\\\"8" },
        { "\\\"qformer.cross\\\":[0,2]", "\\\"qformer.cross\\\":[0,9]" },
        { "\\\"codec.ratios\\\":[8,5,4,4]", "\\\"codec.ratios\\\":[8,5,4  ]" },
        { "\\\"codec.ratio_count\\\":4", "\\\"codec.ratio_count\\\":9" },
        { "\\\"codec.pad\\\":\\\"constant", "\\\"codec.pad\\\":\\\"replicat" },
        { "\"out_norm.bias\"", "\"out_norm.bios\"" },
    };
    char good[128], bad[128];
    snprintf(good, sizeof(good), "%s/good.safetensors", directory);
    snprintf(bad, sizeof(bad), "%s/bad.safetensors", directory);
    struct model_import *m = import(lm_path, codec_path);
    assert_int_equal(
        model_file_write(
            good, &(struct model_file_write_params){ .source = model_import_tensors(m) }),
        ERR_OK);
    model_import_close(&m);
    struct model_file *f;
    for (size_t i = 0; i < sizeof(patches) / sizeof(*patches); i++) {
        copy_file(good, bad);
        patch(bad, patches[i][0], patches[i][1]);
        assert_int_equal(model_file_open(&f, bad), ERR_INPUT);
        assert_null(f);
    }
    assert_int_equal(model_file_open(&f, good), ERR_OK);
    assert_string_equal(model_file_license(f), "");
    model_file_close(&f);
    struct buffer b = slurp(good);
    const int kept = silence_stderr();
    enum err e = ERR_INPUT;
    for (size_t n = 0; n < b.bytes && e == ERR_INPUT; n += b.bytes / 50) {
        spill(bad, b.data, n);
        e = model_file_open(&f, bad);
    }
    restore_stderr(kept);
    assert_int_equal(e, ERR_INPUT);
    buffer_free(&b);
    assert_int_equal(model_file_open(&f, TINY "golden.safetensors"), ERR_INPUT);
    assert_int_equal(model_file_open(&f, lm_path), ERR_INPUT);
    assert_int_equal(model_file_open(&f, "no/such"), ERR_MISSING);
    unlink(good);
    unlink(bad);
}

// ---- what must be refused

static enum err try_import(const char *lm, const char *codec)
{
    struct model_import *m;
    const enum err e = model_import_open(&m, lm, codec);
    assert_true(e ? m == NULL : m != NULL);
    model_import_close(&m);
    return e;
}

static void other_models_are_refused_by_name(void **state)
{
    (void) state;
    static const char *const lm_patches[][2] = {
        { "  activation: gelu\n", "  activation: relu\n" },
        { "bias_attn: false", "bias_attn: true " },
        { "bias_ff: false", "bias_ff: true " },
        { "norm: layer_norm\n", "norm: batch_norm\n" },
        { "xpos: false", "xpos: true " },
        { "layer_scale: null", "layer_scale: 1e-4" },
        { "positional_embedding: sin\n", "positional_embedding: rop\n" },
        { "modeling: delay", "modeling: valle" },
        { "empty_initial: 0", "empty_initial: 1" },
        { "kv_repeat: 1", "kv_repeat: 2" },
        { "norm_first: true", "norm_first: nope" },
        { "is_qformer: true", "is_qformer: nope" },
        { "query_type: mean", "query_type: last" },
        { "  cross:\n  - visual_content\n", "  cross:\n  - visual_kontent\n" },
        { "  sum: []\n", "  sum: [a\n" },
        { "dim: 128", "dim: 256" },
        { "num_layers: 3", "num_layers: 4" },
        { "num_heads: 4", "num_heads: 5" },
        { "num_heads: 4", "numbheads: 4" },
        { "query_num: 16", "query_num: 17" },
        { "cross_attention_frequency: 2", "cross_attention_frequency: 1" },
        { "\nsample_rate: 32000", "\nsample_rate: 48000" },
        { "emb.0.weight", "emb.9.weight" },
        { "out_norm.bias", "out_norm.bios" },
        { "transformer.layers.2.norm1.bias", "transformer.layers.2.norm1.bia2" },
    };
    static const char *const codec_patches[][2] = {
        { "causal: false", "causal: true " },
        { "n_residual_layers: 1", "n_residual_layers: 3" },
        { "renormalize: false", "renormalize: true " },
        { "activation: ELU", "activation: GLU" },
        { "true_skip: true", "true_skip: nope" },
        { "pad_mode: constant", "pad_mode: zeropadx" },
        { "final_activation: null", "final_activation: Tanh" },
        { "autoencoder: seanet", "autoencoder: seamat" },
        { "dimension: 32", "dimension: 64" },
        { "- 8\n  - 5\n", "- 5\n  - 8\n" },
        { "lstm: 2", "lstm: 0" },
        { "  bins: 64", "  bins: 63" },
        { "causal: ${encodec.causal}", "causal: ${seanet.causal} " },
        { "decoder.model.15.conv.conv.bias", "decoder.model.15.conv.conv.bia2" },
        { "decoder.model.15.conv.conv.weight_g", "decoder.model.15.conv.conv.weight_x" },
        { "quantizer.vq.layers.1._codebook.embed", "quantizer.vq.layers.1._codebook.embex" },
        { "encoder.model.0.conv", "encoder.model.x.conv" },
    };
    char copy[128];
    snprintf(copy, sizeof(copy), "%s/copy.bin", directory);
    for (size_t i = 0; i < sizeof(lm_patches) / sizeof(*lm_patches); i++) {
        copy_file(lm_path, copy);
        patch(copy, lm_patches[i][0], lm_patches[i][1]);
        assert_int_equal(try_import(copy, codec_path), ERR_INPUT);
    }
    for (size_t i = 0; i < sizeof(codec_patches) / sizeof(*codec_patches); i++) {
        copy_file(codec_path, copy);
        patch(copy, codec_patches[i][0], codec_patches[i][1]);
        assert_int_equal(try_import(lm_path, copy), ERR_INPUT);
    }
    unlink(copy);
}

static void wrong_files_are_refused(void **state)
{
    (void) state;
    static const char pointer[] = "\x80\x02}(X\x0a\0\0\0pretrainedX\x16\0\0\0"
                                  "facebook/encodec_32khzX\x08\0\0\0exported\x88u.";
    static const char empty[] = "\x80\x02}.";
    const char *path = at(0, "other.bin");
    struct archive_entry entry = { "a/data.pkl", pointer, sizeof(pointer) - 1 };
    struct buffer b = archive_of(&entry, 1);
    spill(path, b.data, b.bytes);
    buffer_free(&b);
    assert_int_equal(try_import(lm_path, path), ERR_INPUT);
    assert_int_equal(try_import(path, codec_path), ERR_INPUT);
    entry.data = empty;
    entry.bytes = sizeof(empty) - 1;
    b = archive_of(&entry, 1);
    spill(path, b.data, b.bytes);
    buffer_free(&b);
    assert_int_equal(try_import(lm_path, path), ERR_INPUT);
    spill(path, "", 0);
    assert_int_equal(try_import(lm_path, path), ERR_INPUT);
    assert_int_equal(try_import(lm_path, lm_path), ERR_INPUT);
    assert_int_equal(try_import(codec_path, lm_path), ERR_INPUT);
    assert_int_equal(try_import(codec_path, codec_path), ERR_INPUT);
    assert_int_equal(try_import(TINY "golden.safetensors", codec_path), ERR_INPUT);
    assert_int_equal(try_import(lm_path, TINY "golden.safetensors"), ERR_INPUT);
    assert_int_equal(try_import(lm_path, TINY "manifest.json"), ERR_INPUT);
    assert_int_equal(try_import(TINY "eval_clip.pth", codec_path), ERR_INPUT);
    assert_int_equal(try_import("no/such", codec_path), ERR_MISSING);
    assert_int_equal(try_import(directory, codec_path), ERR_MISSING);
    unlink(path);
}

// A codec whose names, sizes and settings are damaged somewhere.
static void damage_never_crashes(void **state)
{
    (void) state;
    char path[128];
    snprintf(path, sizeof(path), "%s/damaged.bin", directory);
    struct buffer b = slurp(codec_path);
    const int kept = silence_stderr();
    unsigned refused = 0;
    bool sane = true;
    for (size_t i = 64; sane && i < 20000; i += 263) {
        const uint8_t good = b.data[i];
        b.data[i] ^= (uint8_t) (1u << i % 8);
        spill(path, b.data, b.bytes);
        b.data[i] = good;
        const enum err e = try_import(lm_path, path);
        refused += e == ERR_INPUT;
        sane = e == ERR_OK || e == ERR_INPUT;
    }
    restore_stderr(kept);
    assert_true(sane);
    assert_true(refused > 25);
    buffer_free(&b);
    unlink(path);
}

static int make_directory(void **state)
{
    (void) state;
    return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
    (void) state;
    return rmdir(directory); // which says that nothing was left in it
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_those_of_the_manifest),
        cmocka_unit_test(single_and_half_precision_agree),
        cmocka_unit_test(weight_norm_is_folded),
        cmocka_unit_test(the_transformers_codec_is_the_same),
        cmocka_unit_test(a_model_file_holds_what_was_imported),
        cmocka_unit_test(a_wrong_model_file_is_refused),
        cmocka_unit_test(other_models_are_refused_by_name),
        cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(damage_never_crashes),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
