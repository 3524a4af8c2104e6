// codec_watch: gathers what passes between the layers of the codec, chunk by
// chunk, on the host, and shows the whole of it to a probe.
#pragma once

#include "worker/model/probe.h"
#include "worker/model/seanet.h"

struct codec_watch;

// For one half: "dec" or "enc".
ERR_CHECKED enum err codec_watch_create(struct codec_watch **out, struct stream *s,
                                        const char *half, struct probe *probe);
void codec_watch_destroy(struct codec_watch **w); // NULL inside is fine

// Forget what an earlier signal left.
void codec_watch_begin(struct codec_watch *w);

// For seanet_run(); NULL when `w` is NULL.
struct seanet_watch *codec_watch_layers(struct codec_watch *w);

// Rows `valid`, which `at` holds, of the tensor "codec.dec_NAME" or
// "codec.enc_NAME", `length` rows in all. Runs the stream; a failure stays in it.
// Nothing happens when `w` is NULL.
void codec_watch_see(struct codec_watch *w, const char *name, uint32_t channels,
                     const struct signal *at, struct range valid, int32_t length);

// Show everything, transposed to [channels, length], in the order it was first
// seen, and forget it. ERR_OK when `w` is NULL.
ERR_CHECKED enum err codec_watch_show(struct codec_watch *w);
