// packet_queue: packets read ahead of the decoder, so that what is shown when
// is known before anything is decoded.
#pragma once

#include <libavcodec/packet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/err.h"

struct packet_queue {
    AVPacket **slots; // a ring of `capacity`, `count` of them from `head` on
    size_t capacity, head, count;
    uint64_t bytes; // of data held
};

// Takes over what `p` refers to and leaves it blank.
ERR_CHECKED enum err packet_queue_push(struct packet_queue *q, AVPacket *p);

// The packet `i` places from the front; i < count.
const AVPacket *packet_queue_at(const struct packet_queue *q, size_t i);

// Move the front packet into the blank `p`; count > 0.
void packet_queue_pop(struct packet_queue *q, AVPacket *p);

void packet_queue_drop(struct packet_queue *q, size_t n); // the first n
void packet_queue_release(struct packet_queue *q);        // a zeroed one is fine
