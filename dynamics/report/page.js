"use strict";
(async () => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const times = read("times"), slider = document.getElementById("slider");

  // What a figure does when the time changes: the line that marks it moves, or another frame is shown.
  const lastUpTo = (all, t) => {
    let i = 0;
    while (i + 1 < all.length && all[i + 1] <= t * (1 + 1e-9)) i++;
    return i;
  };
  const moved = (figure) => {
    const {now, frames, times: at} = figure.tags[0];
    if (now) return (t) => { now.location = t; };
    const source = figure.renderers[0].data_source;
    let shown = at.length - 1;
    return (t) => {
      const i = lastUpTo(at, t), image = source.data.image[0];
      if (i === shown) return;
      image.set(new Uint8Array(frames.buffer, frames.byteOffset + i * image.length, image.length));
      source.change.emit();
      shown = i;
    };
  };

  // Figures are drawn when they come near the window, and the others when the browser has nothing else to do; those out
  // of sight follow the slider when they come into sight.
  const views = [], moves = new Map(), sight = new Set();
  const waiting = new Map(read("documents").map((one) => [document.getElementById(one.place), one]));
  const follow = () => { for (const place of sight) moves.get(place)?.(times[slider.value]); };
  const draw = async (place) => {
    const one = waiting.get(place);
    if (!waiting.delete(place)) return;
    const [{roots: [view]}] = await Bokeh.embed.embed_items({[one.place]: one.content}, [{docid: one.place, roots: {[one.root]: one.place}, root_ids: [one.root]}]);
    views.push(view);
    moves.set(place, moved(view.model));
    if (slider && sight.has(place)) moves.get(place)(times[slider.value]);
  };
  const watched = (margin, seen) => {
    const observer = new IntersectionObserver((entries) => {
      for (const {target, isIntersecting} of entries) seen(target, isIntersecting);
    }, {rootMargin: margin});
    for (const place of waiting.keys()) observer.observe(place);
  };
  const first = [];
  watched("200px", (place, near) => { if (near) first.push(draw(place)); });
  watched("0px", (place, inside) => {
    sight[inside ? "add" : "delete"](place);
    if (inside && slider) moves.get(place)?.(times[slider.value]);
  });
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 50));
  const rest = async () => {
    const [next] = waiting.keys();
    if (next) {
      await draw(next);
      idle(rest);
    } else {
      document.documentElement.dataset.drawn = "all";
    }
  };
  addEventListener("load", () => idle(async () => {
    await Promise.all(first);
    performance.mark("first figures");
    rest();
  }));
  // Bokeh takes colours from the style sheet, but does not see when these change.
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", () => views.forEach((view) => view.request_repaint()));
  }

  if (!slider) return;
  const play = document.getElementById("play");
  const show = () => {
    const words = `t = ${Number(times[slider.value].toPrecision(4))}`;
    document.getElementById("now").value = words;
    slider.setAttribute("aria-valuetext", words);
    follow();
  };
  let asked = 0;  // one frame for all events that come while the browser paints
  slider.addEventListener("input", () => {
    asked ||= requestAnimationFrame(() => {
      asked = 0;
      show();
    });
  });
  addEventListener("beforeprint", () => moves.forEach((move) => move(times[slider.value])));
  let timer = 0;
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    play.textContent = "play";
  };
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (slider.value === slider.max) slider.value = 0;
    play.textContent = "stop";
    timer = setInterval(() => {
      slider.stepUp();
      show();
      if (slider.value === slider.max) stop();
    }, 80);
  });
})();
