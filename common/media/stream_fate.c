#include "common/media/stream_fate.h"

#include <string.h>

static bool is_matroska(const AVOutputFormat *to)
{
    return !strcmp(to->name, "matroska");
}

static bool holds(const AVOutputFormat *to, enum AVCodecID id)
{
    return avformat_query_codec(to, id, FF_COMPLIANCE_EXPERIMENTAL) == 1;
}

static bool is_text(enum AVCodecID id)
{
    const AVCodecDescriptor *d = avcodec_descriptor_get(id);
    return d && (d->props & AV_CODEC_PROP_TEXT_SUB);
}

static struct stream_plan fate_of_subtitle(const AVStream *s, const AVOutputFormat *to)
{
    const enum AVCodecID id = s->codecpar->codec_id;
    const bool mov_text_in_matroska = id == AV_CODEC_ID_MOV_TEXT && is_matroska(to);
    if (holds(to, id) && !mov_text_in_matroska)
        return (struct stream_plan){ STREAM_COPY, AV_CODEC_ID_NONE, "subtitles" };
    if (is_text(id) && avcodec_find_decoder(id))
        return (struct stream_plan){ STREAM_TEXT,
                                     is_matroska(to) ? AV_CODEC_ID_SUBRIP
                                                     : AV_CODEC_ID_MOV_TEXT,
                                     "subtitles" };
    return (struct stream_plan){ STREAM_LEAVE_OUT, AV_CODEC_ID_NONE, "subtitles" };
}

// A text track of chapter titles and a time code track are made anew by the
// container from the chapters and the time code tag.
static bool is_made_anew(const AVFormatContext *film, const AVStream *s)
{
    const uint32_t tag = s->codecpar->codec_tag;
    if (tag == MKTAG('t', 'e', 'x', 't') && film->nb_chapters > 0)
        return true;
    return tag == MKTAG('t', 'm', 'c', 'd');
}

static struct stream_plan fate_of_cover(const AVStream *s, const AVOutputFormat *to)
{
    if (is_matroska(to))
        return (struct stream_plan){ STREAM_COVER, AV_CODEC_ID_NONE, "cover picture" };
    const bool fits = !strcmp(to->name, "mp4") && holds(to, s->codecpar->codec_id);
    return (struct stream_plan){ fits ? STREAM_COPY : STREAM_LEAVE_OUT, AV_CODEC_ID_NONE,
                                 "cover picture" };
}

static struct stream_plan fate_of_data(const AVFormatContext *film, const AVStream *s)
{
    return (struct stream_plan){ is_made_anew(film, s) ? STREAM_DROP : STREAM_LEAVE_OUT,
                                 AV_CODEC_ID_NONE, "data" };
}

struct stream_plan stream_fate_of(const AVFormatContext *film, const AVStream *s,
                                  const AVOutputFormat *to, enum film_audio audio)
{
    const enum stream_fate kept =
        holds(to, s->codecpar->codec_id) ? STREAM_COPY : STREAM_REFUSE;
    if (s->disposition & AV_DISPOSITION_ATTACHED_PIC)
        return fate_of_cover(s, to);
    switch (s->codecpar->codec_type) {
    case AVMEDIA_TYPE_VIDEO: return (struct stream_plan){ kept, AV_CODEC_ID_NONE, "picture" };
    case AVMEDIA_TYPE_AUDIO:
        return (struct stream_plan){ audio == FILM_AUDIO_REPLACE ? STREAM_DROP : kept,
                                     AV_CODEC_ID_NONE, "sound" };
    case AVMEDIA_TYPE_SUBTITLE: return fate_of_subtitle(s, to);
    case AVMEDIA_TYPE_ATTACHMENT:
        return (struct stream_plan){ is_matroska(to) ? STREAM_COPY : STREAM_LEAVE_OUT,
                                     AV_CODEC_ID_NONE, "attachment" };
    case AVMEDIA_TYPE_UNKNOWN:
    case AVMEDIA_TYPE_DATA:
    case AVMEDIA_TYPE_NB: break;
    }
    return fate_of_data(film, s);
}

bool stream_is_known(const AVStream *s)
{
    const AVCodecParameters *par = s->codecpar;
    return par->codec_type == AVMEDIA_TYPE_AUDIO   ? par->sample_rate > 0
           : par->codec_type == AVMEDIA_TYPE_VIDEO ? par->width > 0
                                                   : true;
}

uint32_t stream_tag_in(const AVStream *s, const AVOutputFormat *to)
{
    const AVCodecParameters *par = s->codecpar;
    unsigned other = 0;
    if (!to->codec_tag || av_codec_get_id(to->codec_tag, par->codec_tag) == par->codec_id ||
        !av_codec_get_tag2(to->codec_tag, par->codec_id, &other))
        return par->codec_tag;
    return 0;
}
