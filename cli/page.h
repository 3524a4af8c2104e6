// page: the report for people: one HTML file that needs nothing beside it. It plays the
// film with its music under a score of it all: pictures, cues and segments, outline and
// spectrogram; below stand the measures and how it was made.
//
// The film is in the page up to PAGE_MAX_BYTES (browsers limit what they take inside a
// page); a larger one is linked where it was written. Browsers play the first sound of a
// film only, so that the music beside the film's own sound is in the page once more, by itself,
// as long as it has no more bytes than that either.
#pragma once

#include <stdbool.h>

#include "cli/finish_film.h"

#define PAGE_MAX_BYTES (20u << 20)

// Must the music be there by itself (finish_result's clip) for the page to play it?
bool page_wants_clip(const struct film *film, const struct delivery_options *options);

// Write it, whole or not at all; everything that was delivered is in its place. Reads the
// film again for one picture of each cue. Logs.
ERR_CHECKED enum err page_write(const struct job_story *story,
                                const struct delivery_options *options);
