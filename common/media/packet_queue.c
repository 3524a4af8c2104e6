#include "common/media/packet_queue.h"

#include <stdlib.h>

#include "common/base/log.h"

static AVPacket **slot(const struct packet_queue *q, size_t i)
{
    return &q->slots[(q->head + i) % q->capacity];
}

static enum err grow(struct packet_queue *q)
{
    const size_t capacity = q->capacity ? 2 * q->capacity : 64;
    AVPacket **slots = calloc(capacity, sizeof(AVPacket *));
    if (!slots)
        return ERR_NOMEM;
    for (size_t i = 0; i < q->count; i++)
        slots[i] = *slot(q, i);
    free(q->slots);
    q->slots = slots;
    q->capacity = capacity;
    q->head = 0;
    return ERR_OK;
}

enum err packet_queue_push(struct packet_queue *q, AVPacket *p)
{
    AVPacket *taken = av_packet_alloc();
    if (!taken || (q->count == q->capacity && grow(q))) {
        av_packet_free(&taken);
        log_error("no memory for a packet of %d bytes", p->size);
        return ERR_NOMEM;
    }
    av_packet_move_ref(taken, p);
    *slot(q, q->count++) = taken;
    q->bytes += (uint64_t) taken->size;
    return ERR_OK;
}

const AVPacket *packet_queue_at(const struct packet_queue *q, size_t i)
{
    return *slot(q, i);
}

void packet_queue_pop(struct packet_queue *q, AVPacket *p)
{
    AVPacket **front = slot(q, 0);
    q->bytes -= (uint64_t) (*front)->size;
    av_packet_move_ref(p, *front);
    av_packet_free(front);
    q->head = (q->head + 1) % q->capacity;
    q->count--;
}

void packet_queue_drop(struct packet_queue *q, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        q->bytes -= (uint64_t) packet_queue_at(q, 0)->size;
        av_packet_free(slot(q, 0));
        q->head = (q->head + 1) % q->capacity;
        q->count--;
    }
}

void packet_queue_release(struct packet_queue *q)
{
    packet_queue_drop(q, q->count);
    free(q->slots);
    *q = (struct packet_queue){ 0 };
}
