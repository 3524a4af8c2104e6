#include "worker/model/seanet.h"

#include <assert.h>

#include "worker/ops/pad_rows.h"

// --- What depends on what ---------------------------------------------------

static int32_t divide_down(int32_t a, int32_t b) // b > 0
{
    return a / b - (a % b < 0);
}

static int32_t divide_up(int32_t a, int32_t b)
{
    return -divide_down(-a, b);
}

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

static int32_t most(int32_t a, int32_t b)
{
    return a > b ? a : b;
}

static struct range join(struct range a, struct range b)
{
    if (a.lo >= a.hi)
        return b;
    if (b.lo >= b.hi)
        return a;
    return (struct range){ least(a.lo, b.lo), most(a.hi, b.hi) };
}

static struct range within(struct range r, int32_t length)
{
    return (struct range){ most(r.lo, 0), least(r.hi, length) };
}

static int32_t output_length(const struct conv *v, int32_t length)
{
    return v->transposed ? length * (int32_t) v->up : divide_up(length, (int32_t) v->stride);
}

// The steps that compute rows `out`, whole folds of them.
static struct range steps_of(const struct conv *v, struct range out)
{
    const int32_t up = (int32_t) v->up, fold = (int32_t) v->fold;
    const struct range steps = { divide_down(out.lo + v->trim, up),
                                 divide_up(out.hi + v->trim, up) };
    return (struct range){ divide_down(steps.lo, fold) * fold,
                           divide_up(steps.hi, fold) * fold };
}

// Output rows that some steps write; the first and last few may not be wanted,
// or not even exist.
static struct range written_by(const struct conv *v, struct range steps)
{
    const int32_t up = (int32_t) v->up;
    return (struct range){ steps.lo * up - v->trim, steps.hi * up - v->trim };
}

// Rows of the input, those beyond its ends included, that some steps look at.
static struct range seen_by(const struct conv *v, struct range steps)
{
    const int32_t stride = (int32_t) v->stride;
    return (struct range){ steps.lo * stride - v->left,
                           (steps.hi - 1) * stride - v->left + (int32_t) v->kernel };
}

// Zeros that the published code appends before it reflects a signal no longer
// than its padding (and drops afterwards).
static int32_t zeros_appended(const struct conv *v, int32_t length)
{
    const int32_t stride = (int32_t) v->stride;
    const int32_t right = (int32_t) (v->kernel - v->stride) - v->left +
                          divide_up(length, stride) * stride - length;
    const int32_t padding = most(v->left, right);
    return length <= padding ? padding - length + 1 : 0;
}

// The rows that a padded stretch shows, reflections included.
static struct range shown_in(const struct conv *v, struct range seen, int32_t length)
{
    struct range r = within(seen, length);
    if (!v->reflect)
        return r;
    const int32_t mirror = length + zeros_appended(v, length) - 1;
    if (seen.lo < 0)
        r = join(r, within((struct range){ 0, 1 - seen.lo }, length));
    if (seen.hi - 1 > mirror)
        r = join(r, within((struct range){ 2 * mirror - (seen.hi - 1), length }, length));
    return r;
}

static struct range conv_needs(const struct conv *v, struct range out, int32_t length)
{
    return shown_in(v, seen_by(v, steps_of(v, out)), length);
}

// Where the second convolution's rows go they must already be, as the residual.
static struct range block_needs(const struct layer *l, struct range out, int32_t length)
{
    const struct range whole = within(steps_of(&l->second, out), length);
    return join(whole, conv_needs(&l->first, whole, length));
}

static struct range layer_needs(const struct layer *l, struct range out, int32_t length)
{
    return l->kind == LAYER_BLOCK ? block_needs(l, out, length)
                                  : conv_needs(&l->first, out, length);
}

void seanet_lengths(const struct seanet *n, int32_t length, int32_t *lengths)
{
    lengths[0] = length;
    for (uint32_t i = 0; i < n->count; i++)
        lengths[i + 1] = output_length(&n->layers[i].first, lengths[i]);
}

// What is wanted of each layer's input, [0] to [count - 1], and of the output,
// [count].
static void plan(const struct seanet *n, struct range out, const int32_t *lengths,
                 struct range *wanted)
{
    wanted[n->count] = out;
    for (uint32_t i = n->count; i-- > 0;)
        wanted[i] = layer_needs(&n->layers[i], wanted[i + 1], lengths[i]);
}

struct range seanet_needs(const struct seanet *n, struct range out, int32_t length)
{
    int32_t lengths[SEANET_MOST_LAYERS + 1] = { 0 };
    struct range wanted[SEANET_MOST_LAYERS + 1] = { 0 };
    seanet_lengths(n, length, lengths);
    plan(n, out, lengths, wanted);
    return wanted[0];
}

// --- Room -------------------------------------------------------------------

// Beyond a matrix's last column the matmul may look at up to 8 floats, which
// must be numbers.
#define SLACK 16

static uint64_t floats(struct range rows, uint32_t channels)
{
    return (uint64_t) (rows.hi - rows.lo) * channels + SLACK;
}

static void raise_to(uint64_t *to, uint64_t n)
{
    *to = *to > n ? *to : n;
}

static void measure_conv(const struct conv *v, struct range out, struct seanet_room *room)
{
    const struct range steps = steps_of(v, out);
    raise_to(&room->rows, floats(written_by(v, steps), v->out));
    raise_to(&room->padded, floats(seen_by(v, steps), v->in));
}

// `first`: the row that the block's input starts with in its buffer.
static void measure_block(const struct layer *l, struct range out, int32_t length,
                          int32_t first, struct seanet_room *room)
{
    const struct range steps = steps_of(&l->second, out);
    const struct range hidden = steps_of(&l->first, within(steps, length));
    const struct range x = block_needs(l, out, length);
    raise_to(&room->rows, floats((struct range){ first, most(x.hi, steps.hi) }, l->second.out));
    raise_to(&room->padded, floats(seen_by(&l->first, hidden), l->first.in));
    raise_to(&room->hidden, floats(join(hidden, steps), l->first.out));
}

void seanet_measure(const struct seanet *n, struct range out, int32_t length,
                    struct seanet_room *room)
{
    int32_t lengths[SEANET_MOST_LAYERS + 1] = { 0 };
    struct range wanted[SEANET_MOST_LAYERS + 1] = { 0 };
    seanet_lengths(n, length, lengths);
    plan(n, out, lengths, wanted);
    int32_t first = 0;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct layer *l = &n->layers[i];
        if (l->kind == LAYER_BLOCK) {
            measure_block(l, wanted[i + 1], lengths[i], first, room);
        } else {
            measure_conv(&l->first, wanted[i + 1], room);
            first = written_by(&l->first, steps_of(&l->first, wanted[i + 1])).lo;
        }
    }
}

// --- Running ----------------------------------------------------------------

struct run {
    struct stream *stream;
    const struct seanet_buffers *buffers;
};

static uint32_t element(const struct signal *at, int32_t row, uint32_t channels)
{
    return at->offset + (uint32_t) (row - at->first) * channels;
}

static void pad(const struct run *r, const struct conv *v, const struct signal *in,
                int32_t length, struct range seen)
{
    op_pad_rows(r->stream, &(struct pad_rows){
                               .x = in->span,
                               .y = r->buffers->padded,
                               .channels = v->in,
                               .rows = (uint32_t) (seen.hi - seen.lo),
                               .first = seen.lo,
                               .length = length,
                               .x_first = in->first,
                               .x_offset = in->offset,
                               .reflect = v->reflect,
                               .zeros = v->reflect ? zeros_appended(v, length) : 0,
                               .activation = v->elu_before ? ACTIVATION_ELU : ACTIVATION_NONE,
                           });
}

static uint32_t matrix_rows_for(const struct conv *v, struct range steps)
{
    return (uint32_t) (steps.hi - steps.lo) / v->fold;
}

// Pads, then writes what `steps` give to y, from its beginning on.
static void run_conv(const struct run *r, const struct conv *v, const struct signal *in,
                     int32_t length, struct range steps, struct span y, uint32_t activation)
{
    pad(r, v, in, length, seen_by(v, steps));
    op_matmul(r->stream, &(struct matmul){
                             .w = &v->w,
                             .x = r->buffers->padded,
                             .y = y,
                             .rows = matrix_rows_for(v, steps),
                             .x_stride = v->fold * v->stride * v->in,
                             .activation = activation,
                         });
}

static struct signal run_layer_conv(const struct run *r, const struct conv *v,
                                    const struct signal *in, int32_t length, struct range out)
{
    const struct range steps = steps_of(v, out);
    run_conv(r, v, in, length, steps, r->buffers->rows, ACTIVATION_NONE);
    return (struct signal){ .span = r->buffers->rows, .first = written_by(v, steps).lo };
}

// In place: the second convolution adds to x.
static void run_layer_block(const struct run *r, const struct layer *l, const struct signal *x,
                            int32_t length, struct range out)
{
    const struct conv *first = &l->first, *second = &l->second;
    const struct range steps = steps_of(second, out);
    const struct range hidden = steps_of(first, within(steps, length));
    run_conv(r, first, x, length, hidden, r->buffers->hidden, ACTIVATION_ELU);
    const struct signal h = { .first = hidden.lo };
    const uint32_t at = element(x, steps.lo, second->out);
    op_matmul(r->stream, &(struct matmul){
                             .w = &second->w,
                             .x = r->buffers->hidden,
                             .y = x->span,
                             .residual = x->span,
                             .rows = matrix_rows_for(second, steps),
                             .x_offset = element(&h, steps.lo, second->in),
                             .x_stride = second->fold * second->in,
                             .y_offset = at,
                             .residual_offset = at,
                         });
}

struct signal seanet_run(struct stream *s, const struct seanet *n,
                         const struct seanet_buffers *b, struct signal in, int32_t length,
                         struct range out, struct seanet_watch *watch)
{
    const struct run r = { s, b };
    int32_t lengths[SEANET_MOST_LAYERS + 1] = { 0 };
    struct range wanted[SEANET_MOST_LAYERS + 1] = { 0 };
    seanet_lengths(n, length, lengths);
    plan(n, out, lengths, wanted);
    struct signal at = in;
    for (uint32_t i = 0; i < n->count; i++) {
        const struct layer *l = &n->layers[i];
        if (l->kind == LAYER_BLOCK) {
            assert(at.span.buffer == b->rows.buffer);
            run_layer_block(&r, l, &at, lengths[i], wanted[i + 1]);
        } else {
            at = run_layer_conv(&r, &l->first, &at, lengths[i], wanted[i + 1]);
        }
        if (watch)
            watch->see(watch, n, l, &at, wanted[i + 1], lengths[i + 1]);
    }
    return at;
}
