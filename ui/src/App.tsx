// The page: who is signed in and what time it is, the cameras, and what is looked at.

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { send, signOut, wordsOf } from "./api";
import { Happenings } from "./Happenings";
import { LanguageButton } from "./LanguageButton";
import { t } from "./language";
import { Sequence } from "./Sequence";
import { Stage } from "./Stage";
import { asksReason, camera, cameras, choose, goLive, LAYOUTS, me, statuses, tiles, trouble } from "./state";
import { Timeline } from "./Timeline";
import { Wall } from "./Wall";
import { fullTime, now, zone } from "./zone";

function Clock(): JSX.Element {
  const at = useSignal(now());
  useEffect(() => {
    const timer = setInterval(() => { at.value = now(); }, 500);
    return () => clearInterval(timer);
  }, []);
  return (
    <p id="clock" class="clock">
      <span class="sr">{t().gatewayTime} </span><time id="now">{fullTime(at.value)}</time> <span id="zone">({zone.value})</span>
    </p>
  );
}

function Header(): JSX.Element {
  const who = me.value?.person;
  return (
    <header>
      <h1>Vigie</h1>
      {who && (
        <p id="who">
          <span id="who-name">{me.value?.denied ? t().notInForce(who.name) : who.name}</span>{" "}
          <button id="sign-out" type="button" onClick={() => void signOut().catch((error: unknown) => { trouble.value = error; })}>{t().signOut}</button>
        </p>
      )}
      <LanguageButton />
      <Clock />
    </header>
  );
}

function Cameras(): JSX.Element {
  return (
    <nav aria-labelledby="cameras-title">
      <h2 id="cameras-title">{t().cameras}</h2>
      <div class="layouts" role="group" aria-label={t().wall}>
        {LAYOUTS.map((count) => (
          <button key={count} type="button" data-layout={count} aria-pressed={tiles.value === count} aria-label={t().tiles(count)} onClick={() => { tiles.value = count; }}>{count}</button>
        ))}
      </div>
      <ul id="cameras">
        {(cameras.value ?? []).map((one) => {
          const state = statuses.value[one.id]?.state;
          return (
            <li key={one.id}>
              <button
                type="button" data-camera={one.id} aria-current={camera.value?.id === one.id && tiles.value === 1}
                onClick={() => { tiles.value = 1; void choose(one).catch((error: unknown) => { trouble.value = error; }); }}
              >
                <span class="dot" data-state={state} />
                <span>{one.name || one.id}</span>
                <small>{state && t().states[state]}</small>
              </button>
            </li>
          );
        })}
      </ul>
    </nav>
  );
}

/** Asks why footage is looked at, before any is. */
function Reason(): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null), text = useSignal(""), wrong = useSignal<unknown>(null);
  useEffect(() => dialog.current?.showModal(), []);
  const state = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    try {
      await send("PUT", "api/me/reason", { reason: text.value.trim() });
      asksReason.value = false;
      goLive();
    } catch (error) {
      wrong.value = error;
    }
  };
  return (
    <dialog id="reason" ref={dialog} aria-labelledby="reason-title">
      <form class="sheet-form" onSubmit={(event) => void state(event)}>
        <h2 id="reason-title">{t().reasonTitle}</h2>
        <p>{t().reasonText}</p>
        {wrong.value !== null && <p class="alert" role="alert">{wordsOf(wrong.value)}</p>}
        <label>{t().reason} <input required maxLength={300} value={text} onInput={(event) => { text.value = event.currentTarget.value; }} /></label>
        <button type="submit">{t().confirm}</button>
      </form>
    </dialog>
  );
}

function Main(): JSX.Element {
  const one = camera.value;
  if (!one) {
    return (
      <main id="main" tabIndex={-1}>
        {trouble.value !== null && <p id="alert" class="alert" role="alert">{wordsOf(trouble.value)}</p>}
        <h2 id="camera-name">{cameras.value?.length === 0 ? t().noCamera : t().loading}</h2>
      </main>
    );
  }
  if (tiles.value > 1) return <main id="main" tabIndex={-1}><h2>{t().wall}</h2><Wall /><Happenings /></main>;
  return (
    <main id="main" tabIndex={-1}>
      <div class="title">
        <h2 id="camera-name">{one.name || one.id}</h2>
        <p id="camera-place">{one.place}</p>
      </div>
      <Stage camera={one} />
      <Timeline />
      <Sequence camera={one} />
      <Happenings />
    </main>
  );
}

export function App(): JSX.Element {
  return (
    <>
      <a class="skip" href="#main">{t().skip}</a>
      <Header />
      <div class="layout">
        <Cameras />
        <Main />
      </div>
      {asksReason.value && <Reason />}
    </>
  );
}
