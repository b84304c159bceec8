// SPDX-License-Identifier: MIT OR Apache-2.0
// Validates the objects of a YAML file against the schema of Kubernetes' API.
// usage: node validate.mjs MODULES FILE   (MODULES: where npm installed kubernetes-models and yaml)
//
// The schema allows members that it does not know, as an API server drops them with a warning. So each
// object is watched while it is validated: a member that no rule has read is a slip of the pen.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const modules = resolve(process.argv[2]);
const { parseAllDocuments } = createRequire(modules + '/')('yaml');
const models = (version) => import(pathToFileURL(`${modules}/node_modules/kubernetes-models/${version}/index.js`));

function watch(value, path, unread) {
    if (value === null || typeof value !== 'object') return value;
    for (const key of Object.keys(value)) {
        if (!Array.isArray(value)) unread.add(`${path}.${key}`);
        value[key] = watch(value[key], `${path}.${key}`, unread);
    }
    return new Proxy(value, {
        get(target, key, receiver) {
            unread.delete(`${path}.${String(key)}`);
            return Reflect.get(target, key, receiver);
        },
    });
}

let failed = false;
for (const document of parseAllDocuments(readFileSync(process.argv[3], 'utf8'), { strict: true })) {
    const object = document.toJS();
    const what = `${object.kind} ${object.metadata?.name}`;
    try {
        if (document.errors.length) throw document.errors[0];
        const model = (await models(object.apiVersion))[object.kind];
        if (!model) throw new Error(`${object.apiVersion} has no ${object.kind}`);
        const unread = new Set();
        const made = new model(object);
        for (const key of Object.keys(made)) made[key] = watch(made[key], `${object.kind}.${key}`, unread);
        made.validate();
        if (unread.size) throw new Error(`the schema does not know ${[...unread].join(', ')}`);
        console.log(`valid: ${what}`);
    } catch (error) {
        failed = true;
        console.log(`invalid: ${what}: ${error.message}`);
    }
}
process.exit(failed ? 1 : 0);
