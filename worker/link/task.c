#include "worker/link/task.h"

#include <stdlib.h>

static bool make_input(struct task_input *in, uint64_t bytes)
{
    in->bytes = bytes;
    in->data = malloc(bytes ? bytes : 1);
    return in->data != NULL;
}

enum err task_make(struct task **out, const struct wire_lease *lease, uint32_t side,
                   uint32_t codebooks, uint32_t max_columns, uint32_t max_frames)
{
    *out = NULL;
    if (lease->columns == 0 || lease->columns > max_columns ||
        lease->prompt_columns >= lease->columns || lease->frame_count == 0 ||
        lease->frame_count > max_frames)
        return ERR_INPUT;
    struct task *t = calloc(1, sizeof(*t));
    if (!t)
        return ERR_NOMEM;
    t->lease = *lease;
    if (!make_input(&t->frames, 3ull * side * side * lease->frame_count) ||
        !make_input(&t->prompt,
                    sizeof(int32_t) * (uint64_t) codebooks * lease->prompt_columns)) {
        task_free(t);
        return ERR_NOMEM;
    }
    *out = t;
    return ERR_OK;
}

void task_free(struct task *t)
{
    if (!t)
        return;
    free(t->frames.data);
    free(t->prompt.data);
    free(t->path);
    free(t);
}

struct task_input *task_wants(struct task *t, enum wire_what *what)
{
    *what = t->frames.got < t->frames.bytes ? WIRE_FRAMES : WIRE_PROMPT;
    if (*what == WIRE_FRAMES)
        return &t->frames;
    return t->prompt.got < t->prompt.bytes ? &t->prompt : NULL;
}
