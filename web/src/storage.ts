// What the browser keeps: chats and recordings in IndexedDB, settings in localStorage. Where the browser allows neither
// (private windows of some), everything works until the page is closed.
import { type Recording, parseRecording } from './frames';
import type { Chat } from './tree';

const kName = 'dgemma';
const kVersion = 1;

export class Storage {
  private constructor(private readonly base: IDBDatabase | null) {}

  static async open(): Promise<Storage> {
    try {
      const request = indexedDB.open(kName, kVersion);
      request.onupgradeneeded = () => {
        request.result.createObjectStore('chats', { keyPath: 'id' });
        request.result.createObjectStore('recordings');
      };
      const base = await done(request);
      base.onversionchange = () => base.close();
      return new Storage(base);
    } catch {
      return new Storage(null);
    }
  }

  /** False: nothing outlives the page. */
  get lasting(): boolean {
    return this.base !== null;
  }

  async chats(): Promise<Chat[]> {
    if (!this.base) return [];
    const chats = await done(this.store('chats', 'readonly').getAll() as IDBRequest<Chat[]>);
    return chats.filter((chat) => chat.messages instanceof Map && chat.chosen instanceof Map);
  }

  async putChat(chat: Chat): Promise<void> {
    if (this.base) await done(this.store('chats', 'readwrite').put(chat));
  }

  /** Removes a chat and the recordings of its messages. */
  async removeChat(chat: Chat): Promise<void> {
    for (const id of chat.messages.keys()) kept.delete(id);
    if (!this.base) return;
    const transaction = this.base.transaction(['chats', 'recordings'], 'readwrite');
    transaction.objectStore('chats').delete(chat.id);
    for (const id of chat.messages.keys()) transaction.objectStore('recordings').delete(id);
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      transaction.onerror = () => reject(transaction.error);
    });
  }

  async recording(message: string): Promise<Recording | null> {
    const near = kept.get(message);
    if (near || !this.base) return near ?? null;
    return parseRecording(await done(this.store('recordings', 'readonly').get(message)));
  }

  async putRecording(message: string, recording: Recording): Promise<void> {
    kept.set(message, recording);
    if (this.base) {
      await done(this.store('recordings', 'readwrite').put(recording, message));
      kept.delete(message);
    }
  }

  private store(name: string, mode: IDBTransactionMode): IDBObjectStore {
    return this.base!.transaction(name, mode).objectStore(name);
  }
}

/** Recordings that are not (yet) in the base. */
const kept = new Map<string, Recording>();

function done<T>(request: IDBRequest<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

export function readSetting(name: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(`dgemma.${name}`) ?? 'null');
  } catch {
    return null;
  }
}

export function writeSetting(name: string, value: unknown): void {
  try {
    localStorage.setItem(`dgemma.${name}`, JSON.stringify(value));
  } catch {
    // Full or forbidden: the setting holds until the page is closed.
  }
}
