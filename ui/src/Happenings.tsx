// Alarms in force, and the newest events.

import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { read, send, type Alarm, type Event } from "./api";
import { language, t } from "./language";
import { may, trouble } from "./state";
import { dayMonth, clockTime } from "./zone";

const EACH_MS = 10_000;
const EVENTS_SHOWN = 30;

export function Happenings(): JSX.Element | null {
  const alarms = useSignal<Alarm[]>([]), events = useSignal<Event[]>([]);
  const refresh = async (): Promise<void> => {
    if (document.hidden) return;
    try {
      [alarms.value, events.value] = await Promise.all([read<Alarm[]>("api/alarms"), read<Event[]>(`api/events?limit=${EVENTS_SHOWN}`)]);
    } catch (error) {
      trouble.value = error;
    }
  };
  useEffect(() => {
    if (!may("see_events")) return undefined;
    void refresh();
    const timer = setInterval(() => void refresh(), EACH_MS);
    return () => clearInterval(timer);
  }, [language.value]);
  if (!may("see_events")) return null;
  const acknowledge = (id: number): void => {
    void send("POST", `api/alarms/${id}/acknowledge`, {}).catch((error: unknown) => { trouble.value = error; }).then(refresh);
  };
  const when = (text: string): string => `${dayMonth(Date.parse(text))} ${clockTime(Date.parse(text))}`;
  const open = alarms.value.filter((alarm) => alarm.state !== "ended");
  return (
    <section aria-labelledby="alarms-title">
      <h3 id="alarms-title">{t().alarms}</h3>
      {open.length === 0 ? <p>{t().noAlarms}</p> : (
        <ul id="alarms" class="list">
          {open.map((alarm) => (
            <li key={alarm.id} data-severity={alarm.severity}>
              <span>{alarm.text} <small>{t().since(when(alarm.began))}</small></span>
              {alarm.state === "acknowledged" ? <small>{t().acknowledged}</small>
                : may("acknowledge_alarms") && <button type="button" onClick={() => acknowledge(alarm.id)}>{t().acknowledge}</button>}
            </li>
          ))}
        </ul>
      )}
      <details>
        <summary id="events-title">{t().events}</summary>
        <div class="scroll" tabIndex={0} role="region" aria-labelledby="events-title">
          <ul id="events" class="list">
            {events.value.map((event) => <li key={event.id} data-severity={event.severity}><span><small>{when(event.at)}</small> {event.text}</span></li>)}
          </ul>
        </div>
      </details>
    </section>
  );
}
