#include "common/media/mastering.h"

#include <math.h>

#include "common/base/log.h"
#include "common/media/track_writer.h"

#define STEP 4096
#define MAX_PASSES 10
#define MAX_GAIN_STEP_DB 6.0
#define LEAST_SLOPE 0.2 // loudness won by gain; less is taken for noise
#define MAX_REDUCTION_DB 18.0
#define LIMITER_MARGIN_DB 0.05 // a gain that moves adds a little between the samples
#define CODER_MARGIN_DB 0.1

static enum err measure_music(struct loudness *out, struct music_stream *music,
                              const struct music_level *level)
{
    struct loudness_meter *meter;
    enum err e = loudness_meter_create(&meter, DELIVERY_SAMPLE_RATE, 1, true);
    if (e)
        return e;
    float samples[STEP];
    size_t n = 1;
    e = music_stream_start(music, level, "measuring");
    while (!e && n > 0) {
        e = music_stream_read(music, samples, STEP, &n);
        if (!e && n > 0)
            e = loudness_meter_add(meter, samples, n);
    }
    if (!e)
        e = loudness_meter_read(meter, out);
    loudness_meter_destroy(&meter);
    return e;
}

static void amplify(struct loudness *l, double gain_db)
{
    l->integrated_lufs += gain_db;
    l->true_peak_dbtp += gain_db;
}

static enum err try_level(struct master *m, struct music_stream *music)
{
    const enum err e = measure_music(&m->after, music, &m->level);
    m->reduction_db = music_stream_reduction_db(music);
    return e;
}

// Gain into the limiter takes loudness off again: more gain, by the slope of the last
// step, until the limiter would be all that is heard.
static enum err push_into_limiter(struct master *m, struct music_stream *music,
                                  const struct master_target *target)
{
    m->level.limited = true;
    enum err e = try_level(m, music);
    double slope = 1;
    for (int pass = 1; !e && pass < MAX_PASSES && !target->keep_loudness; pass++) {
        const double missing = m->aim_lufs - m->after.integrated_lufs;
        if (!(fabs(missing) > MASTER_TOLERANCE_LU))
            break;
        const struct master was = *m;
        const double step = fmin(missing / fmax(slope, LEAST_SLOPE), MAX_GAIN_STEP_DB);
        m->level.gain_db += step;
        e = try_level(m, music);
        slope = (m->after.integrated_lufs - was.after.integrated_lufs) / step;
        if (m->reduction_db > MAX_REDUCTION_DB && step > 0) {
            *m = was;
            break;
        }
    }
    return e;
}

enum err master_find(struct master *out, struct music_stream *music,
                     const struct master_target *target)
{
    *out = (struct master){ .level.ceiling_dbtp = target->ceiling_dbtp - LIMITER_MARGIN_DB,
                            .aim_lufs = target->lufs };
    const enum err e = measure_music(&out->before, music, &out->level);
    if (e)
        return e;
    out->after = out->before;
    if (!target->keep_loudness && isfinite(out->before.integrated_lufs))
        out->level.gain_db = target->lufs - out->before.integrated_lufs;
    amplify(&out->after, out->level.gain_db);
    if (out->after.true_peak_dbtp <= target->ceiling_dbtp)
        return ERR_OK;
    return push_into_limiter(out, music, target);
}

enum err master_correct(struct master *m, struct music_stream *music,
                        const struct master_target *target, const struct loudness *decoded,
                        bool *again)
{
    const double excess = decoded->true_peak_dbtp - target->ceiling_dbtp;
    const double bias = decoded->integrated_lufs - m->after.integrated_lufs;
    const double aim = target->lufs - bias;
    const bool too_loud = excess > 0;
    const bool off = !target->keep_loudness && isfinite(bias) &&
                     fabs(aim - m->aim_lufs) > MASTER_TOLERANCE_LU;
    *again = too_loud || off;
    if (!*again)
        return ERR_OK;
    log_debug("the coder changed the loudness by %.2f LU and left %.2f dB above the ceiling",
              bias, excess);
    if (off)
        m->aim_lufs = aim;
    if (too_loud)
        m->level.ceiling_dbtp -= excess + CODER_MARGIN_DB;
    if (too_loud || m->level.limited)
        return push_into_limiter(m, music, target);
    m->level.gain_db += m->aim_lufs - m->after.integrated_lufs;
    return try_level(m, music);
}
