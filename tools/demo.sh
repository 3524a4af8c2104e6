#!/bin/sh
# demo.sh: a small film with scenes and its own sound, scored with a random tiny
# model. Into out/. The music is noise-like: the model has learnt nothing.
set -eu
cd "$(dirname "$0")/.."
underscore=build/release/underscore
mkdir -p out

# Three scenes of 8 s, so that there are cuts to find, and a tone as their sound.
ffmpeg -v error -nostdin -y \
    -f lavfi -i testsrc2=size=640x360:rate=25:duration=8 \
    -f lavfi -i mandelbrot=size=640x360:rate=25,trim=duration=8 \
    -f lavfi -i life=size=640x360:rate=25:mold=10:seed=3:death_color=#C83232:life_color=#00ff00,trim=duration=8 \
    -f lavfi -i sine=frequency=220:duration=24 \
    -filter_complex '[0][1][2]concat=n=3,format=yuv420p[v];[3]volume=0.1[a]' \
    -map '[v]' -map '[a]' -c:v libx264 -preset veryfast -c:a aac -metadata title='Three scenes' \
    out/demo.mp4
$underscore init-model --preset tiny --seed 1 -o out/tiny.safetensors
$underscore score out/demo.mp4 --model out/tiny.safetensors --seed 1 -o out/demo-scored.mp4 \
    --min-cue 4 --overwrite --wav out/demo-music.wav --report out/demo-report.json

cat <<END

out/demo.mp4            the film: three scenes, 24 s
out/tiny.safetensors    a model with random weights (its music means nothing)
out/demo-scored.mp4     the film with its music as a further track
out/demo-music.wav      the music alone
out/demo-report.json    how it was made
$underscore --help tells what else there is.
END
