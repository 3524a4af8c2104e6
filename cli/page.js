// The playhead, and the music beside the film. All else is in the page without this.
(() => {
  const get = (id) => document.getElementById(id);
  const film = get("film"), music = get("music"), roll = get("roll"), head = get("head"), mixer = get("mixer");
  let clock = film || music; // what says where we are
  if (!clock) return;
  const seconds = Number(roll.dataset.seconds), lead = Number(roll.dataset.lead);
  const rows = [...document.querySelectorAll("#cues tbody tr")];

  // Film time 0 is when its first picture is shown; a file's sound may begin before.
  const now = () => clock.currentTime - (clock === film ? lead : 0);

  function draw() {
    const t = Math.min(Math.max(now(), 0), seconds);
    head.hidden = false;
    head.style.left = 100 * t / seconds + "%";
    if (!clock.paused) keepInView(head.offsetLeft);
    for (const row of rows)
      row.classList.toggle("now", t >= Number(row.dataset.from) && t < Number(row.dataset.to));
    if (clock === film && music && !film.paused && Math.abs(music.currentTime - t) > 0.08) follow();
    if (!clock.paused) requestAnimationFrame(draw);
  }

  // A long film's score is wider than the window: it turns the page when it must.
  function keepInView(x) {
    const view = roll.parentElement;
    if (x < view.scrollLeft || x > view.scrollLeft + view.clientWidth) view.scrollLeft = x - 40;
  }

  function follow() {
    music.currentTime = Math.max(now(), 0);
  }

  // The film leads, the music follows.
  function couple() {
    music.controls = false;
    music.hidden = true;
    mixer.hidden = false;
    film.addEventListener("playing", () => { follow(); music.play(); });
    for (const stop of ["pause", "waiting", "ended"]) film.addEventListener(stop, () => music.pause());
    film.addEventListener("seeking", follow);
    film.addEventListener("ratechange", () => { music.playbackRate = film.playbackRate; });
    const level = (slider, what) => slider && slider.addEventListener("input", () => { what.volume = slider.value; });
    level(get("film-level"), film);
    level(get("music-level"), music);
  }

  // A film that this browser cannot play leaves the music alone.
  function fallBack() {
    if (!music) return;
    clock = music;
    film.hidden = mixer.hidden = true;
    get("broken").hidden = false;
    music.hidden = false;
    music.controls = true;
    listen(music);
  }

  function listen(media) {
    for (const event of ["playing", "seeking", "timeupdate", "loadedmetadata"]) media.addEventListener(event, draw);
  }

  if (film && music) {
    couple();
    film.addEventListener("error", fallBack);
    if (film.error) fallBack();
  }
  listen(clock);
  roll.classList.add("plays");
  roll.addEventListener("click", (e) => {
    const box = roll.getBoundingClientRect();
    clock.currentTime = seconds * (e.clientX - box.left) / box.width + (clock === film ? lead : 0);
  });
})();
