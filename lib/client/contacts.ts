/** The user, and the friends and groups in the last lists from the server. */
import type { Message } from "../wire/message.ts";
import { Msg } from "../wire/protocol.ts";
import { type Group, number, readFriends, readGroups, string, type User } from "./incoming.ts";

/** The contacts of a session. Each message from the server updates them. */
export class Contacts {
  #id = 0;
  #name = "";
  #friends = new Map<number, User>();
  #groups: readonly Group[] = [];

  /** The id of the session's user. */
  get id(): number {
    return this.#id;
  }

  /** The name of the session's user. */
  get name(): string {
    return this.#name;
  }

  get friends(): readonly User[] {
    return [...this.#friends.values()];
  }

  get groups(): readonly Group[] {
    return this.#groups;
  }

  /** Returns the friend with this id. */
  friend(id: number): User | undefined {
    return this.#friends.get(id);
  }

  /** Adds or replaces a friend. */
  addFriend(friend: User): void {
    this.#friends.set(friend.id, friend);
  }

  /** Adds a group. The next lists from the server name its members. */
  addGroup(id: number, name: string): void {
    if (this.#groups.some((group) => group.id === id)) return;
    this.#groups = [...this.#groups, { id, name, description: "", members: 0, users: [] }];
  }

  /** Updates the contacts from a message of the server. */
  update(message: Message): void {
    if (message.msgid === Msg.LOGIN_ACK) {
      this.#id = number(message.id);
      this.#name = string(message.name);
    }
    if (message.msgid === Msg.LOGIN_ACK || message.msgid === Msg.CONTACTS_ACK) {
      this.#friends = new Map(readFriends(message).map((friend) => [friend.id, friend]));
      this.#groups = readGroups(message);
    } else if (message.msgid === Msg.PRESENCE) {
      const friend = this.#friends.get(number(message.id));
      if (friend) this.#friends.set(friend.id, { ...friend, state: string(message.state) });
    }
  }
}
