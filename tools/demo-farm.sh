#!/bin/sh
# demo-farm.sh: a farm on this machine, into out/farm/: a coordinator, three workers, and four
# films handed to it at once. On a terminal the farm stays until Ctrl-C, so that its page can
# be looked at; elsewhere it ends with the last film.
#
# The films are generated, three scenes of 4 s each; the model is the built-in one or, where
# that is not there, one with random weights, whose music is noise-like.
set -eu
cd "$(dirname "$0")/.."
bin=build/release
farm=out/farm
rm -rf "$farm"
mkdir -p "$farm/films"
sockets=$(mktemp -d)
unset UNDERSCORE_MODEL
export UNDERSCORE_FARM="ipc://$sockets/control"

model=models/demo.safetensors
if [ ! -s "$model" ]; then
    model=out/tiny.safetensors
    $bin/underscore init-model --preset tiny --seed 1 -o "$model"
fi

film() { # NAME SOURCE SOURCE SOURCE: scenes that differ
    ffmpeg -v error -nostdin -y -f lavfi -i "$2" -f lavfi -i "$3" -f lavfi -i "$4" \
        -filter_complex '[0][1][2]concat=n=3,format=yuv420p[v]' -map '[v]' -c:v libx264 -preset veryfast "$farm/films/$1.mp4"
}
shape=size=320x180:rate=25
film bars "smptehdbars=$shape:duration=4" "testsrc2=$shape:duration=4" "rgbtestsrc=$shape:duration=4"
film fractal "mandelbrot=$shape,trim=duration=4" "gradients=$shape:duration=4:seed=1" "testsrc2=$shape:duration=4"
film life "life=$shape:seed=3,trim=duration=4" "mandelbrot=$shape,trim=duration=4" "smptehdbars=$shape:duration=4"
film gradients "gradients=$shape:duration=4:seed=2" "testsrc=$shape:duration=4" "gradients=$shape:duration=4:seed=5"

started=
ended() {
    trap - EXIT INT TERM
    for pid in $started; do
        kill "$pid" 2> /dev/null || true
    done
    wait
    rm -rf "$sockets"
}
trap ended EXIT
trap 'ended; exit 130' INT TERM

begin() { # NAME PROGRAM ARGUMENTS...: its output goes to out/farm/NAME.log
    name=$1
    shift
    "$@" --control "$UNDERSCORE_FARM" --bulk "ipc://$sockets/bulk" > "$farm/$name.log" 2>&1 &
    started="$! $started" # workers leave before the coordinator does
}
begin coordinator $bin/underscored --dir "$farm/coordinator" --media "$farm" --status 127.0.0.1:0
page=
for _ in 1 2 3 4 5 6 7 8 9 10; do
    page=$(sed -n 's/.*status page: \(http[^ ]*\).*/\1/p' "$farm/coordinator.log")
    [ -n "$page" ] && break
    sleep 0.5
done
if [ -z "$page" ]; then
    cat "$farm/coordinator.log" >&2
    exit 1
fi
for n in 1 2 3; do
    begin "worker-$n" $bin/underscore-worker --model "$model" --dir "$farm/worker-$n" --name "worker-$n" --batch 2
done
echo "The farm's page: $page (its figures: ${page}metrics)"

$bin/underscore submit "$farm/films" -o "$farm/{name}.scored.{ext}" --min-cue 3 --max-cue 6 --segment 4 --overlap 1 \
    --crossfade 1 --seed 1 --quiet
$bin/underscore watch
echo
for name in bars fractal life gradients; do
    printf '%-30s %s\n' "$farm/$name.scored.mp4" "the film with its music"
done
printf '%-30s %s\n' "$farm/*.log" "what coordinator and workers said"
if [ -t 1 ]; then
    echo "The farm stays until Ctrl-C: $page"
    echo "Try: UNDERSCORE_FARM=$UNDERSCORE_FARM $bin/underscore top"
    wait
fi
