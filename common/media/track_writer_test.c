// Tests of track_writer: what is in the film that is written, and where.
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>

#include <cmocka.h>
#include <libavformat/avformat.h>
#include <libavutil/mastering_display_metadata.h>

#include "common/media/film.h"
#include "common/media/film_fixture.h"
#include "common/media/sha256.h"
#include "common/media/track_writer.h"

#define MODEL_RATE 32000

// Music as a function of the sample's number.
struct made_music {
    struct pcm_source source;
    float (*sample)(uint64_t n);
    uint64_t at;
};

static enum err made_read(struct pcm_source *self, float *out, size_t capacity, size_t *got)
{
    struct made_music *m = (struct made_music *) self;
    for (*got = 0; *got < capacity && *got < 1000 && m->at < self->samples; m->at++)
        out[(*got)++] = m->sample(m->at);
    return ERR_OK;
}

static enum err made_rewind(struct pcm_source *self)
{
    ((struct made_music *) self)->at = 0;
    return ERR_OK;
}

static struct made_music make_music(const struct film *film, float (*sample)(uint64_t n))
{
    return (struct made_music){
        .source = { made_read, made_rewind, film_samples(film, MODEL_RATE), MODEL_RATE },
        .sample = sample,
    };
}

static float chord(uint64_t n)
{
    const double t = (double) n / MODEL_RATE;
    return (float) (0.08 * (sin(2765 * t) + sin(3483 * t) + sin(4143 * t)) *
                    (1 + 0.3 * sin(9 * t)));
}

static float noise(uint64_t n)
{
    n = (n + 1) * 0x9e3779b97f4a7c15ull;
    n ^= n >> 29;
    n *= 0xbf58476d1ce4e5b9ull;
    return (float) ((int32_t) (n >> 32)) * 0x1p-31f * 0.1f;
}

// Quiet, with blows far above it.
static float drum(uint64_t n)
{
    const double t = fmod((double) n / MODEL_RATE, 0.5);
    return (float) (0.9 * exp(-t * 60) * sin(t * 700)) + 0.1f * noise(n);
}

static float silence(uint64_t n)
{
    (void) n;
    return 0;
}

// One smooth pulse at 1.5 s, 3 ms wide.
static float pulse(uint64_t n)
{
    const double t = ((double) n / MODEL_RATE - 1.5) / 0.003;
    return (float) (0.5 * exp(-t * t * 4));
}

static void write_film(const char *from, const struct delivery *d, float (*sample)(uint64_t n),
                       struct delivery_report *report)
{
    struct film film;
    assert_int_equal(film_probe(&film, fixture_path(from)), ERR_OK);
    struct made_music music = make_music(&film, sample);
    assert_int_equal(track_writer_run(&film, d, &music.source, NULL, report), ERR_OK);
    assert_int_equal(report->samples, film_samples(&film, 48000));
    film_release(&film);
}

static enum err try_film(const char *from, const struct delivery *d)
{
    struct film film;
    struct delivery_report report;
    assert_int_equal(film_probe(&film, fixture_path(from)), ERR_OK);
    struct made_music music = make_music(&film, chord);
    const enum err e = track_writer_run(&film, d, &music.source, NULL, &report);
    film_release(&film);
    return e;
}

// The tests' folder holds no file whose name begins with '.'.
static void nothing_half_written(void)
{
    fixture_run("test -z \"$(find . -name '.*part*')\"");
}

// A shell condition about the films.
#define PROBE "ffprobe -v error -of default=nk=1:nw=1 "

// The packets of one stream are the same in both films.
static void same_packets(const char *a, const char *stream_a, const char *b,
                         const char *stream_b)
{
    fixture_run(
        "hash() { ffmpeg -nostdin -v error -i $1 -map 0:$2 -c copy -f streamhash -hash md5 - "
        "| cut -d= -f2; }; test -n \"$(hash %s %s)\" && test $(hash %s %s) = $(hash %s %s)",
        a, stream_a, a, stream_a, b, stream_b);
}

static void make_full_film(void)
{
    fixture_run(
        "printf '1\\n00:00:00,500 --> 00:00:01,500\\nHello <i>there</i>\\n\\n"
        "2\\n00:00:02,000 --> 00:00:02,800\\nSecond\\n' > text.srt && "
        "printf ';FFMETADATA1\\ntitle=The Film\\nartist=Somebody\\n[CHAPTER]\\n"
        "TIMEBASE=1/1000\\nSTART=0\\nEND=1500\\ntitle=One\\n[CHAPTER]\\nTIMEBASE=1/1000\\n"
        "START=1500\\nEND=3000\\ntitle=Two\\n' > meta.txt");
    fixture_run(FFMPEG
                "%s -f lavfi -i sine=440:d=3 -i text.srt -i meta.txt -map 0 -map 1 -map 2 "
                "-map_metadata 3 -map_chapters 3 -c:v libx264 -g 25 -c:a aac -c:s srt "
                "-metadata:s:a language=fra -metadata:s:a title=Original "
                "-metadata:s:s language=deu -disposition:a default full.mkv",
                fixture_counting("25", 3));
    fixture_run(FFMPEG "-i full.mkv -map 0 -c copy -c:s mov_text full.mp4 && " FFMPEG
                       "-i full.mkv -map 0 -c copy -c:s mov_text full.mov");
}

static void check_full(const char *from, const char *to, const char *codec,
                       const char *subtitle)
{
    struct delivery_report report;
    const struct delivery d = { .film = fixture_path(to), .language = "eng", .title = "Music" };
    write_film(from, &d, chord, &report);
    assert_string_equal(report.codec, codec);
    assert_true(fabs(report.after.integrated_lufs - -14) < 0.2);
    assert_true(report.after.true_peak_dbtp <= -1);
    same_packets(from, "v:0", to, "v:0");
    same_packets(from, "a:0", to, "a:0");
    fixture_run("test \"$(" PROBE
                "-select_streams a -show_entries stream=codec_name %s | xargs)\" = "
                "'aac %s'",
                to, codec);
    fixture_run("test \"$(" PROBE
                "-select_streams a -show_entries stream_disposition=default %s "
                "| xargs)\" = '1 0'",
                to);
    fixture_run("test \"$(" PROBE
                "-select_streams a -show_entries stream_tags=language %s | xargs)\" "
                "= 'fra eng'",
                to);
    fixture_run(PROBE "-select_streams a:1 -show_entries stream_tags=title,handler_name %s "
                      "| grep -qx Music",
                to);
    fixture_run("test \"$(" PROBE
                "-select_streams s -show_entries stream=codec_name:stream_tags="
                "language %s | xargs)\" = '%s%s'", // MOV's Macintosh codes have no "deu"
                to, subtitle, strstr(to, ".mov") ? "" : " deu");
    fixture_run(
        "test \"$(ffmpeg -v error -i %s -map 0:s -f srt - | grep -c -e Hello -e Second)\" = 2",
        to);
    fixture_run("test \"$(" PROBE "-show_entries chapter_tags=title %s | xargs)\" = 'One Two'",
                to);
    fixture_run("test \"$(" PROBE
                "-show_entries format_tags=title,artist %s | sort | xargs)\" = "
                "'Somebody The Film'",
                to);
    nothing_half_written();
}

static void everything_is_kept(void **state)
{
    (void) state;
    make_full_film();
    check_full("full.mkv", "a.mkv", "flac", "subrip");
    check_full("full.mp4", "a.mp4", "aac", "mov_text");
    check_full("full.mov", "a.mov", "pcm_s24le", "mov_text");
    check_full("full.mkv", "b.mp4", "aac", "mov_text");
    check_full("full.mp4", "b.mkv", "flac", "subrip");
    check_full("full.mkv", "b.mov", "pcm_s24le", "mov_text");
}

static void replaced_audio(void **state)
{
    (void) state;
    struct delivery_report report;
    const struct delivery d = { .film = fixture_path("replaced.mp4"),
                                .audio = FILM_AUDIO_REPLACE };
    write_film("full.mp4", &d, chord, &report);
    fixture_run("test \"$(" PROBE "-select_streams a -show_entries stream=codec_name:"
                "stream_disposition=default:stream_tags=handler_name replaced.mp4 | xargs)\" = "
                "'aac 1 Underscore'");
    same_packets("full.mp4", "v:0", "replaced.mp4", "v:0");
}

// Where the pulse lies in the music as ffmpeg decodes it, in samples.
static long pulse_at(const char *film, const char *stream)
{
    fixture_run(FFMPEG "-i %s -map 0:%s -af aresample=async=0 -f f32le pulse.raw", film,
                stream);
    FILE *f = fopen(fixture_path("pulse.raw"), "rb");
    assert_non_null(f);
    float pair[2], most = 0;
    long at = -1;
    for (long i = 0; fread(pair, sizeof(pair), 1, f) == 1; i++) {
        assert_true(pair[0] == pair[1]); // both channels are the same
        if (pair[0] > most) {
            most = pair[0];
            at = i;
        }
    }
    fclose(f);
    return at;
}

static void check_pulse(const char *to, const char *codec, long tolerance)
{
    struct delivery_report report;
    const struct delivery d = { .film = fixture_path(to),
                                .codec = codec,
                                .keep_loudness = true };
    write_film("plain.mp4", &d, pulse, &report);
    const long at = pulse_at(to, "a:0");
    if (labs(at - 72000) > tolerance)
        fail_msg("%s: the pulse is at %ld, not 72000", to, at);
}

static void sample_aligned(void **state)
{
    (void) state;
    fixture_run(FFMPEG "%s plain.mp4", fixture_counting("25", 3));
    check_pulse("p.mkv", "flac", 0);
    check_pulse("q.mkv", "pcm_s24le", 0);
    check_pulse("r.mkv", "alac", 0);
    check_pulse("s.mkv", "opus", 3);
    check_pulse("p.mp4", "aac", 3);
    check_pulse("q.mp4", "alac", 0);
    check_pulse("r.mp4", "flac", 0);
    check_pulse("p.mov", "pcm_s24le", 0);
    check_pulse("q.mov", "aac", 3);
}

// The music's track starts with the file; its pulse is 1.5 s after the picture.
static void check_late(const char *from, const char *to, double origin, long tolerance)
{
    struct delivery_report report;
    struct film film;
    const struct delivery d = { .film = fixture_path(to), .keep_loudness = true };
    write_film(from, &d, pulse, &report);
    assert_int_equal(film_probe(&film, fixture_path(to)), ERR_OK);
    const double start = (double) film.origin * film.tick_num / film.tick_den;
    if (fabs(start - origin) > 0.0015)
        fail_msg("%s: the picture starts at %.4f s", to, start);
    const long at = pulse_at(to, "a:1"), expected = lrint((start + 1.5) * 48000);
    if (labs(at - expected) > tolerance)
        fail_msg("%s: the pulse is at %ld, not %ld", to, at, expected);
    film_release(&film);
}

// The picture may come on later than the sound, or the whole film start late.
static void music_starts_with_the_picture(void **state)
{
    (void) state;
    fixture_run(FFMPEG
                "-f lavfi -i sine=d=4 -itsoffset 0.72 -i plain.mp4 -map 0 -map 1:v -c:v copy "
                "-c:a pcm_s16le late.mkv && " FFMPEG
                "-i late.mkv -map 0 -c:v copy -c:a aac late.mp4");
    check_late("late.mkv", "late-out.mkv", 0.72, 48); // milliseconds
    check_late("late.mkv", "late-out.mov", 0.72, 48);
    check_late("late.mp4", "late-out.mp4", 0.72, 48);
    fixture_run(FFMPEG "-i full.mp4 -map 0:v -map 0:a -c copy -output_ts_offset 50 on.ts");
    check_late("on.ts", "on-out.mkv", 0.023, 48);
    check_late("on.ts", "on-out.mp4", 0.023, 48);
}

static void check_level(const char *to, float (*sample)(uint64_t n), double target,
                        double after)
{
    struct delivery_report report;
    const struct delivery d = { .film = fixture_path(to), .target_lufs = target };
    write_film("full.mkv", &d, sample, &report);
    if (fabs(report.after.integrated_lufs - after) > 0.2 || report.after.true_peak_dbtp > -1)
        fail_msg("%s: %.2f LUFS, %.2f dBTP", to, report.after.integrated_lufs,
                 report.after.true_peak_dbtp);
}

static void loudness_targets(void **state)
{
    (void) state;
    check_level("l1.mkv", chord, 0, -14);
    check_level("l2.mkv", noise, -23, -23);
    check_level("l3.mp4", noise, -14, -14);
    check_level("l4.mp4", drum, -18, -18);
    check_level("l5.mkv", drum, -17.5, -17.5);
    check_level("l6.mov", noise, -9, -9);

    struct delivery_report report;
    const struct delivery none = { .film = fixture_path("l7.mkv"), .keep_loudness = true };
    write_film("full.mkv", &none, chord, &report);
    assert_true(fabs(report.gain_db) < 1e-9 && report.limiter_db < 1e-9);
    assert_true(fabs(report.after.integrated_lufs - report.before.integrated_lufs) < 0.05);
    write_film("full.mkv", &none, silence, &report);
    assert_true(isinf(report.after.integrated_lufs) && isinf(report.after.true_peak_dbtp));
    const struct delivery loud = { .film = fixture_path("l8.mkv") };
    write_film("full.mkv", &loud, silence, &report);
    assert_true(isinf(report.after.true_peak_dbtp)); // silence stays silence
}

// By FFmpeg's own meter, not by ours.
static void measured_by_another(void **state)
{
    (void) state;
    check_level("m.mp4", drum, -18, -18);
    fixture_run(
        "ffmpeg -nostdin -hide_banner -i m.mp4 -map 0:a:1 -af ebur128=peak=true -f null - "
        "2>&1 | sed -n '/Summary/,$p' > meter.txt && "
        "awk '/ I: /{i=$2} /Peak:/{p=$2} END{exit !(i>-18.3 && i<-17.7 && p<=-0.9)}' meter.txt");
}

static void lossy_codecs_are_mended(void **state)
{
    (void) state;
    struct delivery_report report;
    const struct delivery d = { .film = fixture_path("lossy.mkv"),
                                .codec = "opus",
                                .bitrate = 64000,
                                .target_lufs = -18 };
    write_film("full.mkv", &d, drum, &report);
    assert_string_equal(report.codec, "opus");
    assert_true(fabs(report.after.integrated_lufs - -18) < 0.2);
    assert_true(report.after.true_peak_dbtp <= -1);
    assert_true(report.limiter_db > 0);
}

static void same_film_twice(void **state)
{
    (void) state;
    char a[SHA256_TEXT_BYTES], b[SHA256_TEXT_BYTES];
    static const char *const endings[] = { "mp4", "mov", "mkv" };
    for (int i = 0; i < 3; i++) {
        char name[2][32];
        struct delivery_report report;
        for (int k = 0; k < 2; k++) {
            snprintf(name[k], sizeof(name[k]), "same%d.%s", k, endings[i]);
            const struct delivery d = { .film = fixture_path(name[k]) };
            write_film("full.mkv", &d, chord, &report);
        }
        assert_int_equal(sha256_file(a, fixture_path(name[0])), ERR_OK);
        assert_int_equal(sha256_file(b, fixture_path(name[1])), ERR_OK);
        assert_string_equal(a, b);
    }
}

static void wav_alone(void **state)
{
    (void) state;
    struct delivery_report report;
    const struct delivery d = { .wav = fixture_path("alone.wav"),
                                .film = fixture_path("with.mkv") };
    write_film("plain.mp4", &d, chord, &report);
    const struct delivery alone = { .wav = d.wav };
    write_film("plain.mp4", &alone, chord, &report);
    assert_string_equal(report.container, "wav");
    assert_true(fabs(report.after.integrated_lufs - -14) < 0.2);
    fixture_run("test \"$(" PROBE
                "-show_entries stream=codec_name,channels,sample_rate,duration_ts "
                "alone.wav | xargs)\" = 'pcm_s24le 48000 2 144000'");
    // The same samples as in a film.
    fixture_run(FFMPEG "-i alone.wav -f md5 w.md5 && " FFMPEG
                       "-i with.mkv -map 0:a:0 -f md5 f.md5 && "
                       "cmp w.md5 f.md5");
}

// A picture's master display, as an HDR film's container tells it.
static void add_mastering(AVStream *s)
{
    size_t bytes;
    AVMasteringDisplayMetadata *m = av_mastering_display_metadata_alloc();
    m->has_luminance = m->has_primaries = 1;
    m->min_luminance = (AVRational){ 5, 10000 };
    m->max_luminance = (AVRational){ 1000, 1 };
    for (int i = 0; i < 3; i++)
        m->display_primaries[i][0] = m->display_primaries[i][1] = (AVRational){ i + 1, 10 };
    m->white_point[0] = m->white_point[1] = (AVRational){ 1, 3 };
    av_stream_add_side_data(s, AV_PKT_DATA_MASTERING_DISPLAY_METADATA, (uint8_t *) m,
                            sizeof(*m));
    AVContentLightMetadata *l = av_content_light_metadata_alloc(&bytes);
    l->MaxCLL = 1000;
    l->MaxFALL = 400;
    av_stream_add_side_data(s, AV_PKT_DATA_CONTENT_LIGHT_LEVEL, (uint8_t *) l, bytes);
}

// Ten bytes that nobody will decode, as a subtitle of bitmaps.
static void write_bitmap(AVFormatContext *out, const AVStream *s, int64_t pts)
{
    AVPacket *p = av_packet_alloc();
    assert_int_equal(av_new_packet(p, 10), 0);
    memset(p->data, 0, 10);
    p->stream_index = s->index;
    p->pts = p->dts = pts;
    p->duration = 500;
    assert_int_equal(av_interleaved_write_frame(out, p), 0);
    av_packet_free(&p);
}

// Copy a film's picture into a Matroska file, telling how it was mastered, with
// bitmap subtitles beside it.
static void make_disc(const char *from, const char *to)
{
    AVFormatContext *in = NULL, *out = NULL;
    assert_int_equal(avformat_open_input(&in, fixture_path(from), NULL, NULL), 0);
    assert_true(avformat_find_stream_info(in, NULL) >= 0);
    avformat_alloc_output_context2(&out, NULL, "matroska", NULL);
    AVStream *s = avformat_new_stream(out, NULL), *text = avformat_new_stream(out, NULL);
    avcodec_parameters_copy(s->codecpar, in->streams[0]->codecpar);
    s->codecpar->codec_tag = 0;
    text->codecpar->codec_type = AVMEDIA_TYPE_SUBTITLE;
    text->codecpar->codec_id = AV_CODEC_ID_HDMV_PGS_SUBTITLE;
    add_mastering(s);
    assert_true(avio_open(&out->pb, fixture_path(to), AVIO_FLAG_WRITE) >= 0);
    assert_true(avformat_write_header(out, NULL) >= 0);
    AVPacket *p = av_packet_alloc();
    write_bitmap(out, text, 100);
    while (av_read_frame(in, p) >= 0) {
        av_packet_rescale_ts(p, in->streams[0]->time_base, s->time_base);
        assert_int_equal(av_interleaved_write_frame(out, p), 0);
    }
    write_bitmap(out, text, 2000);
    assert_int_equal(av_write_trailer(out), 0);
    av_packet_free(&p);
    avio_closep(&out->pb);
    avformat_free_context(out);
    avformat_close_input(&in);
}

static void discs(void **state)
{
    (void) state;
    make_disc("plain.mp4", "disc.mkv");
    static const char *const names[] = { "disc-out.mp4", "disc-out.mov", "disc-out.mkv" };
    for (int i = 0; i < 3; i++) {
        struct delivery_report report;
        const struct delivery d = { .film = fixture_path(names[i]) };
        write_film("disc.mkv", &d, chord, &report);
        fixture_run(
            "ffprobe -v error -show_streams %s > disc.txt && grep -q max_content=1000 disc.txt "
            "&& grep -q max_luminance=1000 disc.txt && "
            "test $(grep -c hdmv_pgs disc.txt) = %d", // only Matroska holds them
            names[i], i == 2);
    }
    same_packets("disc.mkv", "s:0", "disc-out.mkv", "s:0");
}

static void kept_side_data(void **state)
{
    (void) state;
    struct delivery_report report;
    fixture_run(FFMPEG "-i full.mp4 -map 0 -c copy -metadata:s:v rotate=90 turned.mp4");
    const struct delivery d = { .film = fixture_path("turned-out.mp4") };
    write_film("turned.mp4", &d, chord, &report); // written_check sees to the rotation
    const struct delivery mkv = { .film = fixture_path("turned-out.mkv") };
    assert_int_equal(try_film("turned.mp4", &mkv), ERR_INPUT);
}

static void covers_and_attachments(void **state)
{
    (void) state;
    struct delivery_report report;
    fixture_run(
        FFMPEG
        "-f lavfi -i testsrc2=s=64x64 -vframes 1 cover.png && echo font > font.ttf && " FFMPEG
        "-i full.mp4 -i cover.png -map 0:v -map 0:a -map 1 -c copy "
        "-disposition:v:1 attached_pic cover.mp4 && " FFMPEG
        "-i full.mkv -map 0 -c copy -attach font.ttf -metadata:s:t "
        "mimetype=application/x-truetype-font font.mkv");
    const struct delivery mp4 = { .film = fixture_path("cover-out.mp4") };
    write_film("cover.mp4", &mp4, chord, &report);
    fixture_run("ffprobe -v error -show_streams cover-out.mp4 | grep -q attached_pic=1");
    const struct delivery mkv = { .film = fixture_path("cover-out.mkv") };
    write_film("cover.mp4", &mkv, chord, &report);
    fixture_run("ffprobe -v error -show_streams cover-out.mkv | grep -q attached_pic=1");
    const struct delivery font = { .film = fixture_path("font-out.mkv") };
    write_film("font.mkv", &font, chord, &report);
    fixture_run("ffprobe -v error -show_streams font-out.mkv | grep -q filename=font.ttf");
}

static void awkward_films(void **state)
{
    (void) state;
    struct delivery_report report;
    fixture_run(FFMPEG "-ss 1.28 -i full.mp4 -map 0:v -map 0:a -c copy cut.mp4");
    const struct delivery cut = { .film = fixture_path("cut-out.mp4") };
    write_film("cut.mp4", &cut, chord, &report);
    fixture_run(FFMPEG "%s -c:v mpeg2video -bf 2 -f vob two.mpg", fixture_counting("25", 2));
    const struct delivery ps = { .film = fixture_path("two-out.mkv") };
    write_film("two.mpg", &ps, chord, &report);
    fixture_run(FFMPEG "-i full.mkv -map 0:v -map 0:a -c copy full.ts");
    const struct delivery ts = { .film = fixture_path("ts-out.mp4") };
    write_film("full.ts", &ts, chord, &report);
    fixture_run(FFMPEG "%s -frames:v 2 blink.mp4", fixture_counting("25", 2)); // 80 ms
    const struct delivery blink = { .film = fixture_path("blink-out.mp4") };
    write_film("blink.mp4", &blink, chord, &report);
    assert_true(report.before.short_signal);
    assert_true(fabs(report.after.integrated_lufs - -14) < 0.2);
    assert_int_equal(report.samples, 3840);
}

static void refusals(void **state)
{
    (void) state;
    const struct delivery strange = { .film = fixture_path("x.avi") };
    assert_int_equal(try_film("full.mkv", &strange), ERR_USAGE);
    const struct delivery codec = { .film = fixture_path("x.mp4"), .codec = "pcm_s24le" };
    assert_int_equal(try_film("full.mkv", &codec), ERR_USAGE);
    const struct delivery language = { .film = fixture_path("x.mp4"), .language = "english" };
    assert_int_equal(try_film("full.mkv", &language), ERR_USAGE);
    const struct delivery itself = { .film = fixture_path("full.mkv") };
    assert_int_equal(try_film("full.mkv", &itself), ERR_USAGE);
    const struct delivery nowhere = { .film = fixture_path("no/where.mkv") };
    assert_int_equal(try_film("full.mkv", &nowhere), ERR_CREATE);
    const struct delivery loud = { .film = fixture_path("x.mkv"), .target_lufs = 3 };
    assert_int_equal(try_film("full.mkv", &loud), ERR_USAGE);
    const struct delivery nothing = { .film = NULL };
    assert_int_equal(try_film("full.mkv", &nothing), ERR_USAGE);
    fixture_run(FFMPEG "-i full.mkv -map 0:v -map 0:a -c:v copy -c:a pcm_s16le pcm.mkv");
    const struct delivery mp4 = { .film = fixture_path("x.mp4") };
    assert_int_equal(try_film("pcm.mkv", &mp4), ERR_INPUT);
    nothing_half_written();
    fixture_run("test ! -e x.mp4");
}

static void full_disk(void **state)
{
    (void) state;
    struct rlimit was;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &was);
    const struct rlimit small = { 60000, was.rlim_max };
    static const char *const names[] = { "full1.mkv", "full1.mp4", "full1.mov" };
    for (int i = 0; i < 3; i++) {
        const struct delivery d = { .film = fixture_path(names[i]) };
        setrlimit(RLIMIT_FSIZE, &small);
        const enum err e = try_film("full.mkv", &d);
        setrlimit(RLIMIT_FSIZE, &was);
        assert_int_equal(e, ERR_IO);
    }
    const struct delivery wav = { .wav = fixture_path("full1.wav") };
    setrlimit(RLIMIT_FSIZE, &small);
    const enum err e = try_film("full.mkv", &wav);
    setrlimit(RLIMIT_FSIZE, &was);
    assert_int_equal(e, ERR_IO);
    fixture_run("test -z \"$(ls -A | grep full1)\"");
}

// What somebody who waits is shown.
struct watched {
    char words[512];
    int64_t done_ms, total_ms;
    bool sound; // progress never fell, and every piece of work ended at its end
};

static void on_begin(void *user, const char *what)
{
    struct watched *w = user;
    w->sound = w->sound && w->done_ms == w->total_ms;
    w->done_ms = w->total_ms = 0;
    strncat(w->words, what, sizeof(w->words) - strlen(w->words) - 1);
    strncat(w->words, " ", sizeof(w->words) - strlen(w->words) - 1);
}

static void on_progress(void *user, int64_t done_ms, int64_t total_ms)
{
    struct watched *w = user;
    w->sound = w->sound && done_ms >= w->done_ms && done_ms <= total_ms && *w->words;
    w->done_ms = done_ms;
    w->total_ms = total_ms;
}

static void every_pass_is_shown(void **state)
{
    (void) state;
    struct watched w = { .sound = true };
    const struct media_hooks hooks = { .begin = on_begin, .progress = on_progress, .user = &w };
    const struct delivery d = { .film = fixture_path("watched.mp4") };
    struct film film;
    struct delivery_report report;
    assert_int_equal(film_probe(&film, fixture_path("full.mkv")), ERR_OK);
    struct made_music music = make_music(&film, chord);
    assert_int_equal(track_writer_run(&film, &d, &music.source, &hooks, &report), ERR_OK);
    assert_true(w.sound);
    assert_int_equal(w.done_ms, w.total_ms);
    assert_non_null(strstr(w.words, "measuring "));
    assert_non_null(strstr(w.words, "delivering checking "));
    film_release(&film);
}

static int patience;

static bool impatient(void *user)
{
    (void) user;
    return patience-- == 0;
}

static void stopped_anywhere(void **state)
{
    (void) state;
    const struct media_hooks hooks = { .cancelled = impatient };
    struct film film;
    struct delivery_report report;
    assert_int_equal(film_probe(&film, fixture_path("full.mkv")), ERR_OK);
    int stops = 0;
    enum err e = ERR_STOP;
    for (int after = 3; e == ERR_STOP; after = after * 2 + 1, stops++) {
        patience = after;
        const struct delivery d = { .film = fixture_path("stop.mp4") };
        struct made_music music = make_music(&film, chord);
        e = track_writer_run(&film, &d, &music.source, &hooks, &report);
        if (e == ERR_STOP)
            fixture_run("test ! -e stop.mp4");
        nothing_half_written();
    }
    assert_int_equal(e, ERR_OK);
    assert_true(stops > 4);
    film_release(&film);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_kept),
        cmocka_unit_test(replaced_audio),
        cmocka_unit_test(sample_aligned),
        cmocka_unit_test(music_starts_with_the_picture),
        cmocka_unit_test(loudness_targets),
        cmocka_unit_test(measured_by_another),
        cmocka_unit_test(lossy_codecs_are_mended),
        cmocka_unit_test(same_film_twice),
        cmocka_unit_test(wav_alone),
        cmocka_unit_test(kept_side_data),
        cmocka_unit_test(discs),
        cmocka_unit_test(covers_and_attachments),
        cmocka_unit_test(awkward_films),
        cmocka_unit_test(refusals),
        cmocka_unit_test(full_disk),
        cmocka_unit_test(every_pass_is_shown),
        cmocka_unit_test(stopped_anywhere),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
