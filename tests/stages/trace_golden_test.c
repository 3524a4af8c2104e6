// `underscore import` and `underscore trace`, as a user runs them, against the
// golden data. UNDERSCORE is the program's path, from CMake.
#include <sys/wait.h>
#include <unistd.h>

#include "tests/stages/golden.h"

// What a command line's exit status is; its messages go nowhere.
static int __attribute__((format(printf, 1, 2))) status_of(const char *format, ...)
{
    char command[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    const int status = system(command);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

#define OTHER "tests/golden/tiny-b/"

struct folder {
    char path[64];
    char model[96], model_f16[96], out[96];
};

static void make_folder(struct folder *f)
{
    snprintf(f->path, sizeof(f->path), "/tmp/underscore-trace-XXXXXX");
    assert_non_null(mkdtemp(f->path));
    snprintf(f->model, sizeof(f->model), "%s/model.safetensors", f->path);
    snprintf(f->model_f16, sizeof(f->model_f16), "%s/half.safetensors", f->path);
    snprintf(f->out, sizeof(f->out), "%s/out.safetensors", f->path);
}

static void remove_folder(const struct folder *f)
{
    unlink(f->model), unlink(f->model_f16), unlink(f->out);
    assert_int_equal(rmdir(f->path), 0); // nothing else was left behind
}

static void import_model(const char *state, const char *model)
{
    assert_int_equal(status_of("%s import %s%s %scompression_state_dict.bin -o %s 2>/dev/null",
                               UNDERSCORE, GOLDEN, state, GOLDEN, model),
                     0);
}

static void import_other(const char *option, const char *model)
{
    assert_int_equal(
        status_of(
            "%s import %sstate_dict.bin %scompression_state_dict.bin %s -o %s 2>/dev/null",
            UNDERSCORE, OTHER, OTHER, option, model),
        0);
}

static int trace(const char *model, const char *in, const char *out)
{
    return status_of("%s trace %s --in %s -o %s 2>/dev/null", UNDERSCORE, model, in, out);
}

// Every tensor of the output, those that must be exact only with full precision.
static void compare_file(struct golden *g, const char *path)
{
    struct safetensors *out;
    assert_int_equal(safetensors_open(&out, path), ERR_OK);
    g->compared = 0;
    for (size_t i = 0; i < safetensors_count(out); i++) {
        const char *name = safetensors_name(out, i);
        const struct tensor_view t = safetensors_view(out, i);
        assert_int_equal(t.dtype, golden_tensor(g, name).dtype);
        if (g->loose && golden_tolerance(g, name, "atol") == 0)
            continue;
        float *data = malloc(tensor_elements(&t) * sizeof(*data));
        assert_non_null(data);
        tensor_to_f32(&t, 0, tensor_elements(&t), data);
        golden_compare(g, name, data, t.rank, t.shape);
        free(data);
    }
    safetensors_close(&out);
}

// Of the golden tensors that start with `start`, how many the output lacks.
static unsigned missing(const struct golden *g, const char *path, const char *start)
{
    struct safetensors *out;
    struct tensor_view t;
    unsigned n = 0;
    assert_int_equal(safetensors_open(&out, path), ERR_OK);
    for (size_t i = 0; i < safetensors_count(g->tensors); i++) {
        const char *name = safetensors_name(g->tensors, i);
        n += !strncmp(name, start, strlen(start)) && !safetensors_find(out, name, &t);
    }
    safetensors_close(&out);
    return n;
}

static void every_tensor_is_the_references(void **state)
{
    struct golden *g = *state;
    struct folder f;
    make_folder(&f);
    import_model("state_dict.bin", f.model);
    assert_int_equal(trace(f.model, GOLDEN "golden.safetensors", f.out), 0);
    g->loose = false;
    compare_file(g, f.out);
    assert_int_equal(missing(g, f.out, "vis."), 2); // the frames
    assert_int_equal(missing(g, f.out, "lm.layer"), 0);
    assert_int_equal(missing(g, f.out, "lm.seq_logits_"), 0);
    assert_int_equal(missing(g, f.out, "gen.greedy_tokens"), 1); // the one without guidance
    assert_int_equal(missing(g, f.out, "gen.continuation_tokens"), 0);
    assert_int_equal(missing(g, f.out, "sample.top"), 0);
    assert_int_equal(missing(g, f.out, "codec.dec_"), 1);   // what went in
    assert_int_equal(missing(g, f.out, "codec.enc_"), 1);   // how far apart the codes are
    assert_int_equal(missing(g, f.out, "codec.short_"), 2); // what went in
    remove_folder(&f);
}

static void every_tensor_is_near_with_half_weights(void **state)
{
    struct golden *g = *state;
    struct folder f;
    make_folder(&f);
    import_model("state_dict_fp16.bin", f.model_f16);
    assert_int_equal(trace(f.model_f16, GOLDEN "golden.safetensors", f.out), 0);
    g->loose = true;
    compare_file(g, f.out);
    remove_folder(&f);
}

// Columns come out one after the other: more of them begin with those of fewer, but for the
// last ones, which are composed while codebooks ahead of theirs have ended.
static void more_steps_begin_alike(void **state)
{
    const struct golden *g = *state;
    struct folder f;
    struct safetensors *out;
    struct tensor_view more;
    make_folder(&f);
    import_model("state_dict.bin", f.model);
    assert_int_equal(status_of("%s trace %s --in %s -o %s --steps 47 2>/dev/null", UNDERSCORE,
                               f.model, GOLDEN "golden.safetensors", f.out),
                     0);
    assert_int_equal(safetensors_open(&out, f.out), ERR_OK);
    assert_true(safetensors_find(out, "gen.greedy_tokens", &more));
    const struct tensor_view usual = golden_tensor(g, "gen.greedy_tokens");
    assert_int_equal(more.shape[1], 47);
    for (uint64_t k = 0; k < usual.shape[0]; k++)
        for (uint64_t i = 0; i + usual.shape[0] <= usual.shape[1]; i++)
            assert_true(tensor_at(&more, k * 47 + i) ==
                        tensor_at(&usual, k * usual.shape[1] + i));
    safetensors_close(&out);
    remove_folder(&f);
}

// A model whose sizes are all other ones, and hardly one a multiple of 4.
static void another_size_is_computed_too(void **state)
{
    (void) state;
    struct golden g = { .manifest = json_load_file(OTHER "manifest.json", 0, NULL) };
    struct folder f;
    make_folder(&f);
    assert_non_null(g.manifest);
    assert_int_equal(safetensors_open(&g.tensors, OTHER "golden.safetensors"), ERR_OK);
    import_other("--f32", f.model);
    assert_int_equal(trace(f.model, OTHER "golden.safetensors", f.out), 0);
    compare_file(&g, f.out);
    assert_int_equal(missing(&g, f.out, ""), 8); // what went in
    json_decref(g.manifest);
    safetensors_close(&g.tensors);
    remove_folder(&f);
}

// A file with one tensor of the golden data, called something.
static void write_one(const struct golden *g, const char *path, const char *golden,
                      const char *name)
{
    const struct tensor_view t = golden_tensor(g, golden);
    struct safetensors_item item = { .name = name,
                                     .dtype = t.dtype,
                                     .rank = t.rank,
                                     .data = t.data };
    memcpy(item.shape, t.shape, sizeof(item.shape));
    assert_int_equal(
        safetensors_write(
            path, &(struct safetensors_write_params){ .items = &item, .item_count = 1 }),
        ERR_OK);
}

static void bad_input_is_refused_and_leaves_nothing(void **state)
{
    const struct golden *g = *state;
    struct folder f;
    make_folder(&f);
    import_model("state_dict.bin", f.model);
    char in[128];
    snprintf(in, sizeof(in), "%s/in.safetensors", f.path);
    assert_int_equal(trace(f.model, in, f.out), 66);
    write_one(g, in, "vis.frames", "no.such");
    assert_int_equal(trace(f.model, in, f.out), 65); // nothing to do
    write_one(g, in, "vis.conv1", "vis.frames");
    assert_int_equal(trace(f.model, in, f.out), 65); // misshapen
    write_one(g, in, "sample.logits", "codec.dec_codes");
    assert_int_equal(trace(f.model, in, f.out), 65); // no tokens
    assert_int_equal(trace(in, in, f.out), 65);      // no model
    assert_int_equal(status_of("%s trace %s --in %s 2>/dev/null", UNDERSCORE, f.model, in), 64);
    assert_int_equal(unlink(in), 0);
    remove_folder(&f);
}

// What the command says to one tensor, an empty prompt and, if asked for, a condition beside it.
static int trace_tensor(const struct folder *f, bool conditioned, const char *name,
                        uint64_t rows, uint64_t cols, float value)
{
    static float data[MODEL_MAX_CARD + 1];
    char in[128];
    snprintf(in, sizeof(in), "%s/in.safetensors", f->path);
    for (size_t i = 0; i < rows * cols; i++)
        data[i] = value;
    const struct safetensors_item items[] = {
        { .name = name, .dtype = DTYPE_F32, .rank = 2, .shape = { rows, cols }, .data = data },
        { .name = "sample.topk3_temp1.0", .dtype = DTYPE_F32, .rank = 1, .data = data },
        { .name = "gen.prompt",
          .dtype = DTYPE_I32,
          .rank = 2,
          .shape = { 2, 0 },
          .data = data },
        { .name = "vis.condition",
          .dtype = DTYPE_F32,
          .rank = 2,
          .shape = { 2, 18 },
          .data = data },
    };
    assert_int_equal(
        safetensors_write(
            in, &(struct safetensors_write_params){ .items = items,
                                                    .item_count = conditioned ? 4 : 3 }),
        ERR_OK);
    const int status = trace(f->model, in, f->out);
    assert_int_equal(unlink(in), 0);
    return status;
}

static void sizes_at_the_edge_are_computed_or_refused(void **state)
{
    (void) state;
    struct folder f;
    make_folder(&f);
    import_other("--f32", f.model);
    assert_int_equal(trace_tensor(&f, true, "lm.codes", 2, 0, 0), 0); // leaves the first step
    assert_int_equal(trace_tensor(&f, true, "lm.codes", 2, 1, 37), 65);
    assert_int_equal(trace_tensor(&f, true, "lm.codes", 2, 1, 0.5f), 65);
    assert_int_equal(trace_tensor(&f, false, "codec.wav", 1, 0, 0), 65);
    assert_int_equal(trace_tensor(&f, false, "sample.logits", 1, 0, 0), 65);
    assert_int_equal(trace_tensor(&f, false, "sample.logits", 1, MODEL_MAX_CARD + 1, 0), 65);
    remove_folder(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_tensor_is_the_references),
        cmocka_unit_test(every_tensor_is_near_with_half_weights),
        cmocka_unit_test(more_steps_begin_alike),
        cmocka_unit_test(another_size_is_computed_too),
        cmocka_unit_test(sizes_at_the_edge_are_computed_or_refused),
        cmocka_unit_test(bad_input_is_refused_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, golden_setup, golden_teardown);
}
