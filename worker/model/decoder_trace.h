// decoder_trace: teacher forcing with a look between the layers.
#pragma once

#include "worker/model/decoder_pass.h"
#include "worker/model/probe.h"

// decoder_trace() for a model whose slot 0 holds the condition's keys and
// values: `steps` steps of the tokens that stand in slot 0, both branches.
ERR_CHECKED enum err decoder_model_trace(struct decoder_model *m, struct device *d,
                                         uint32_t steps, struct probe *probe);
