// The list of chats: search, open, rename, delete; and the row of things about the whole page.
import { useEffect, useRef, useState } from 'preact/hooks';
import { CloseIcon, EditIcon, HelpIcon, Mark, MoonIcon, PlusIcon, SlidersIcon, SunIcon, TrashIcon } from './icons';
import { isDark, theme } from './settings';
import * as state from './state';
import { type Chat, matches } from './tree';

interface Actions {
  close: () => void;
  openSettings: () => void;
  openHelp: () => void;
}

export function toggleTheme(): void {
  theme.value = isDark() ? 'light' : 'dark';
}

function Name({ chat, done }: { chat: Chat; done: () => void }) {
  const field = useRef<HTMLInputElement>(null);
  const finished = useRef(false);
  useEffect(() => field.current!.select(), []);
  const finish = (keep: boolean) => {
    if (finished.current) return;
    finished.current = true;
    if (keep) state.renameChat(chat, field.current!.value);
    done();
  };
  const press = (event: KeyboardEvent) => {
    if (event.key === 'Enter' && !event.isComposing) finish(true);
    if (event.key === 'Escape') {
      event.stopPropagation();
      finish(false);
    }
  };
  return (
    <input
      ref={field}
      class="rename"
      aria-label="Name of the chat"
      defaultValue={chat.title}
      onKeyDown={press}
      onBlur={() => finish(true)}
    />
  );
}

function Entry({ chat, opened }: { chat: Chat; opened: () => void }) {
  const [renames, setRenames] = useState(false);
  const item = useRef<HTMLLIElement>(null);
  const here = state.current.value === chat;
  if (renames) {
    const done = () => {
      setRenames(false);
      setTimeout(() => item.current?.querySelector<HTMLElement>('.title')?.focus());
    };
    return (
      <li ref={item}>
        <Name chat={chat} done={done} />
      </li>
    );
  }
  return (
    <li ref={item} class={here ? 'here' : ''}>
      <button
        type="button"
        class="title"
        aria-current={here ? 'true' : undefined}
        onClick={() => (state.openChat(chat), opened())}
      >
        {chat.title}
        {state.running.value?.chat === chat && <span class="pulse" role="img" aria-label="An answer is forming" />}
      </button>
      <button
        type="button"
        class="icon"
        aria-label={`Rename ${chat.title}`}
        title="Rename"
        onClick={() => setRenames(true)}
      >
        <EditIcon />
      </button>
      <button
        type="button"
        class="icon"
        aria-label={`Delete ${chat.title}`}
        title="Delete"
        onClick={() => state.deleteChat(chat)}
      >
        <TrashIcon />
      </button>
    </li>
  );
}

export function Sidebar({ open, actions }: { open: boolean; actions: Actions }) {
  const [query, setQuery] = useState('');
  state.version.value;
  const found = state.chats.value.filter((chat) => matches(chat, query));
  return (
    <aside id="chats" class={open ? 'open' : ''} aria-label="Chats">
      <div class="brand">
        <Mark />
        <h1>dgemma</h1>
        <span class="grow" />
        <button type="button" class="icon only-phone" aria-label="Close the list of chats" onClick={actions.close}>
          <CloseIcon />
        </button>
      </div>
      <button
        type="button"
        class="new"
        onClick={() => (state.newChat(), actions.close(), document.getElementById('question')?.focus())}
      >
        <PlusIcon /> New chat
      </button>
      <input
        id="search"
        type="search"
        placeholder="Search chats"
        aria-label="Search chats"
        value={query}
        onInput={(event) => setQuery(event.currentTarget.value)}
      />
      <nav aria-label="History">
        <ul>
          {found.map((chat) => (
            <Entry key={chat.id} chat={chat} opened={actions.close} />
          ))}
        </ul>
        {found.length === 0 && (
          <p class="dim small none">{query ? 'Nothing found.' : 'Chats stay in this browser and appear here.'}</p>
        )}
      </nav>
      <div class="foot">
        <button type="button" class="icon" onClick={actions.openSettings} aria-label="Settings" title="Settings">
          <SlidersIcon />
        </button>
        <button
          type="button"
          class="icon"
          onClick={toggleTheme}
          aria-label={isDark() ? 'Light theme' : 'Dark theme'}
          title="Light or dark"
        >
          {isDark() ? <SunIcon /> : <MoonIcon />}
        </button>
        <button
          type="button"
          class="icon"
          onClick={actions.openHelp}
          aria-label="Keyboard shortcuts"
          title="Keyboard shortcuts (?)"
        >
          <HelpIcon />
        </button>
      </div>
    </aside>
  );
}
