// picture_graph: decoded pictures through FFmpeg's filters.
//
// A graph is made for pictures of one size and form and is made anew by itself
// when that changes in the middle of a film.
#pragma once

#include <libavutil/frame.h>
#include <libavutil/rational.h>
#include <stdbool.h>

#include "common/base/err.h"
#include "common/media/film.h"

struct picture_graph;

// Pictures for a viewer: RGB24 in display geometry, as frames.h says.
ERR_CHECKED enum err picture_graph_to_rgb(struct picture_graph **out, const struct film *film);

// Small grey pictures with scdet's score in their metadata.
ERR_CHECKED enum err picture_graph_to_score(struct picture_graph **out,
                                            const struct film *film);

void picture_graph_destroy(struct picture_graph **g);

// Run one picture through; *out receives its result. `in` keeps its own. ERR_INPUT when
// the filters cannot work on such a picture; logs.
ERR_CHECKED enum err picture_graph_run(struct picture_graph *g, AVFrame *out,
                                       const AVFrame *in);
