// mqtt_js - MQTT.js against a broker, one thing at a time: the verbs of paho_c.c.
//   node mqtt_js.js URI VERSION(4|5) CAFILE VERB TOPIC [QOS COUNT]
// URI: mqtt://, mqtts://, ws:// or wss:// HOST:PORT[/PATH]. Prints "ok" and ends with 0, or says what went wrong and ends with 1.
'use strict'
const fs = require('fs')
const mqtt = require('mqtt')

const [uri, version, authority, verb, topic, qosText, countText] = process.argv.slice(2)
const qos = Number(qosText || 1)
const count = Number(countText || 1)
const WAIT_MS = 20000

function fail (what) {
  console.log(what)
  process.exit(1)
}

function open (clean, more) {
  const client = mqtt.connect(uri, {
    protocolVersion: Number(version),
    clientId: topic,
    clean,
    reconnectPeriod: 0,
    properties: version === '5' ? { sessionExpiryInterval: clean ? 0 : 300 } : undefined,
    ca: authority === '-' ? undefined : fs.readFileSync(authority),
    ...more
  })
  client.on('error', (error) => fail(`error: ${error.message}`))
  return client
}

function done (client) {
  client.end(false, () => {
    console.log('ok')
    process.exit(0)
  })
}

// Messages in this order and no other; then it is done.
function expect (client, texts, retained) {
  let next = 0
  client.on('message', (name, payload, packet) => {
    if (name !== topic || payload.toString() !== texts[next] || packet.qos !== qos || packet.retain !== retained) {
      fail(`wanted "${texts[next]}" with QoS ${qos}, retained ${retained}, got "${payload}" with QoS ${packet.qos}, retained ${packet.retain} on ${name}`)
    }
    if (++next === texts.length) done(client)
  })
}

function numbers (prefix) {
  return Array.from({ length: count }, (_, i) => prefix + i)
}

const verbs = {
  echo () {
    const client = open(true)
    expect(client, numbers('message '), false)
    client.on('connect', () => client.subscribe(topic, { qos }, (error) => {
      if (error) fail(`subscribe: ${error.message}`)
      for (const text of numbers('message ')) client.publish(topic, text, { qos })
    }))
  },
  retained () {
    const client = open(true)
    expect(client, ['kept'], true)
    client.on('connect', () => client.publish(topic, 'kept', { qos, retain: true }, () => client.subscribe(topic, { qos })))
  },
  will () {
    open(true, { will: { topic, payload: 'gone', qos: 1 } }).on('connect', () => {
      fs.writeSync(1, 'ok\n')
      process.kill(process.pid, 'SIGKILL') // no library says goodbye for us
    })
  },
  keep () {
    const client = open(false)
    client.on('connect', () => client.subscribe(topic, { qos }, () => done(client)))
  },
  resume () {
    const client = open(false)
    expect(client, numbers(''), false)
    client.on('connect', (connack) => connack.sessionPresent || fail('no session is present'))
  }
}

setTimeout(() => fail('not done in time'), WAIT_MS)
verbs[verb]()
