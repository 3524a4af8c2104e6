#include "common/media/loudness.h"

#include <ebur128.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"

#define BLOCK_MS 400

struct loudness_meter {
    ebur128_state *state;
    uint32_t sample_rate, channels;
    bool dual_mono;
    uint64_t frames;
    float *opening; // the first block, for signals that have no second
    size_t block;   // frames in it
};

static ebur128_state *make_state(const struct loudness_meter *m)
{
    ebur128_state *s =
        ebur128_init(m->channels, m->sample_rate, EBUR128_MODE_I | EBUR128_MODE_TRUE_PEAK);
    if (s && m->dual_mono && m->channels == 1)
        ebur128_set_channel(s, 0, EBUR128_DUAL_MONO);
    return s;
}

enum err loudness_meter_create(struct loudness_meter **out, uint32_t sample_rate,
                               uint32_t channels, bool dual_mono)
{
    *out = NULL;
    struct loudness_meter *m = calloc(1, sizeof(*m));
    if (!m)
        goto fail;
    m->sample_rate = sample_rate;
    m->channels = channels;
    m->dual_mono = dual_mono;
    m->block = (size_t) sample_rate * BLOCK_MS / 1000;
    m->opening = calloc(m->block * channels, sizeof(float));
    m->state = make_state(m);
    if (!m->opening || !m->state)
        goto fail;
    *out = m;
    return ERR_OK;

fail:
    log_error("no memory to measure loudness at %u Hz", sample_rate);
    loudness_meter_destroy(&m);
    return ERR_NOMEM;
}

void loudness_meter_destroy(struct loudness_meter **m)
{
    if (!*m)
        return;
    if ((*m)->state)
        ebur128_destroy(&(*m)->state);
    free((*m)->opening);
    free(*m);
    *m = NULL;
}

static enum err add_frames(ebur128_state *s, const float *samples, size_t frames)
{
    if (ebur128_add_frames_float(s, samples, frames) == EBUR128_SUCCESS)
        return ERR_OK;
    log_error("no memory to measure loudness");
    return ERR_NOMEM;
}

enum err loudness_meter_add(struct loudness_meter *m, const float *samples, size_t frames)
{
    if (m->frames < m->block) {
        const size_t room = m->block - (size_t) m->frames, n = frames < room ? frames : room;
        memcpy(m->opening + m->frames * m->channels, samples, n * m->channels * sizeof(float));
    }
    m->frames += frames;
    return add_frames(m->state, samples, frames);
}

static enum err measure_repeated(const struct loudness_meter *m, double *lufs)
{
    ebur128_state *s = make_state(m);
    if (!s)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    for (uint64_t done = 0; !e && done < m->sample_rate; done += m->frames)
        e = add_frames(s, m->opening, (size_t) m->frames);
    if (!e)
        ebur128_loudness_global(s, lufs);
    ebur128_destroy(&s);
    return e;
}

enum err loudness_meter_read(struct loudness_meter *m, struct loudness *out)
{
    double lufs = -HUGE_VAL, peak = 0;
    enum err e = ERR_OK;
    const bool is_short = m->frames < m->block;
    if (is_short && m->frames > 0)
        e = measure_repeated(m, &lufs);
    else if (!is_short)
        ebur128_loudness_global(m->state, &lufs);
    for (uint32_t c = 0; c < m->channels; c++) {
        double p = 0;
        if (ebur128_true_peak(m->state, c, &p) == EBUR128_SUCCESS && p > peak)
            peak = p;
    }
    *out = (struct loudness){
        .integrated_lufs = lufs,
        .true_peak_dbtp = peak > 0 ? 20 * log10(peak) : -HUGE_VAL,
        .short_signal = is_short,
        .samples = m->frames,
    };
    return e;
}
