#!/bin/sh
# demo.sh: a film scored, into out/: models/demo.mp4 with the built-in model. Where either is
# not there, a generated film of three scenes and a random tiny model take its place: then the
# music is noise-like, the model has learnt nothing.
set -eu
cd "$(dirname "$0")/.."
underscore=build/release/underscore
mkdir -p out
unset UNDERSCORE_MODEL

film=models/demo.mp4
model=models/demo.safetensors
film_is="the film"
model_is="the built-in model"

if [ ! -s "$film" ]; then
    film=out/demo.mp4
    film_is="the film: three scenes, 24 s"
    # Three scenes of 8 s, so that there are cuts to find, and a tone as their sound.
    ffmpeg -v error -nostdin -y \
        -f lavfi -i testsrc2=size=640x360:rate=25:duration=8 \
        -f lavfi -i mandelbrot=size=640x360:rate=25,trim=duration=8 \
        -f lavfi -i life=size=640x360:rate=25:mold=10:seed=3:death_color=#C83232:life_color=#00ff00,trim=duration=8 \
        -f lavfi -i sine=frequency=220:duration=24 \
        -filter_complex '[0][1][2]concat=n=3,format=yuv420p[v];[3]volume=0.1[a]' \
        -map '[v]' -map '[a]' -c:v libx264 -preset veryfast -c:a aac -metadata title='Three scenes' \
        "$film"
fi
if [ ! -s "$model" ]; then
    model=out/tiny.safetensors
    model_is="a model with random weights (its music means nothing)"
    $underscore init-model --preset tiny --seed 1 -o "$model"
fi

$underscore score "$film" --model "$model" --seed 1 -o out/demo-scored.mp4 --overwrite \
    --wav out/demo-music.wav --report out/demo-report.json --report-html out/demo.html

line() { printf '%-23s %s\n' "$1" "$2"; }
echo
line out/demo.html "look at this first: the film with its music, and what was made"
line out/demo-scored.mp4 "the film with its music as a further track"
line out/demo-music.wav "the music alone"
line out/demo-report.json "how it was made"
line "$film" "$film_is"
line "$model" "$model_is"
echo "$underscore --help tells what else there is."
