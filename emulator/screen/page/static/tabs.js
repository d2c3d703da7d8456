// A browser opens six connections to a server at most, and each open telephone
// keeps one: a seventh would wait for ever, and so would replies. So the pages
// of a browser agree that those that were used last are connected, and leave
// two connections for everything else.
const most = 4;

// takeTurns calls pause when enough other pages were used since this one was,
// and resume when this one is used after that.
export function takeTurns(pause, resume) {
  const self = Math.random().toString(36);
  const channel = new BroadcastChannel("telephones");
  const since = new Set(); // the pages that were used since this one was
  let paused = false;

  channel.onmessage = ({ data: { page, gone } }) => {
    if (gone) since.delete(page);
    else since.add(page);
    if (since.size < most || paused) return;
    paused = true;
    pause();
  };

  function used() {
    if (document.hidden) return;
    since.clear();
    channel.postMessage({ page: self });
    if (paused) resume();
    paused = false;
  }

  for (const event of ["focus", "pageshow", "pointerdown", "keydown"]) addEventListener(event, used);
  document.addEventListener("visibilitychange", used);
  addEventListener("pagehide", () => channel.postMessage({ page: self, gone: true }));
  used();
}
