#include "worker/model/delay_pattern.h"

uint32_t delay_most(const struct lm_config *c)
{
    uint32_t most = 0;
    for (uint32_t k = 0; k < c->codebooks; k++)
        if (c->delays[k] > most)
            most = c->delays[k];
    return most;
}

uint32_t delay_steps(const struct lm_config *c, uint32_t columns)
{
    return columns + 1 + delay_most(c);
}

uint32_t delay_columns(const struct lm_config *c, uint32_t columns, uint32_t step)
{
    const uint32_t most = delay_most(c);
    const uint32_t complete = step > most ? step - most : 0;
    return complete < columns ? complete : columns;
}

void delay_apply(const struct lm_config *c, const int32_t *codes, uint32_t known,
                 uint32_t columns, uint32_t steps, uint32_t *sequence, uint32_t stride)
{
    for (uint32_t k = 0; k < c->codebooks; k++)
        for (uint32_t s = 0; s < steps; s++) {
            const int64_t t = (int64_t) s - 1 - c->delays[k];
            uint32_t *entry = sequence + (uint64_t) k * stride + s;
            if (t < 0 || t >= columns)
                *entry = c->card;
            else if (t < known)
                *entry = (uint32_t) codes[(uint64_t) k * known + (uint64_t) t];
            else
                *entry = TOKEN_UNKNOWN;
        }
}

void delay_revert(const struct lm_config *c, const uint32_t *sequence, uint32_t stride,
                  uint32_t columns, int32_t *codes)
{
    for (uint32_t k = 0; k < c->codebooks; k++)
        for (uint32_t t = 0; t < columns; t++)
            codes[(uint64_t) k * columns + t] =
                (int32_t) sequence[(uint64_t) k * stride + t + 1 + c->delays[k]];
}
